/* A map over the keys of rows, and a reduction of records. */
#include "../llmdb.h"

LLMDB_GUEST

/* The sum of the four words that each row begins with. */
LLMDB_COLUMNS(key_sum, 8, {0, 32})
LLMDB_EXPORT("key_sum_map")
int64_t key_sum_map(const uint64_t *keys, uint32_t count, uint64_t *answers) {
    for (uint32_t i = 0; i < count; i++) {
        answers[i] = keys[4 * i] + keys[4 * i + 1] + keys[4 * i + 2] + keys[4 * i + 3];
    }
    return 0;
}

/* The bytes of all keys. */
LLMDB_EXPORT("key_bytes_state_size") uint32_t key_bytes_state_size(void) {
    return sizeof(uint64_t);
}

LLMDB_EXPORT("key_bytes")
int32_t key_bytes(const struct llmdb_batch *batch, uint32_t size, uint64_t *state) {
    (void)size;
    for (uint32_t i = 0; i < batch->count; i++) {
        *state += llmdb_entry(batch, i)->key_length;
    }
    return 0;
}

LLMDB_EXPORT("key_bytes_finish") int64_t key_bytes_finish(const uint64_t *state) {
    return llmdb_answer(state, sizeof *state);
}
