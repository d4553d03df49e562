/* Functions that run inside LLMDB, in C: the ABI, version 2 (docs/wasm-abi.md).
 *
 * One file of a guest says LLMDB_GUEST once; then LLMDB_COLUMNS or LLMDB_PAGES before each function, and the function
 * itself under its exported name. Build without a C library:
 *
 *   clang --target=wasm32 -O3 -nostdlib -mbulk-memory -Wl,--no-entry -o key.wasm examples/key.c
 *
 * -msimd128 allows vectors. Imports are refused by the database, so a function that is missing fails when it is put. */
#ifndef LLMDB_H
#define LLMDB_H

#include <stddef.h>
#include <stdint.h>

#define LLMDB_ABI_VERSION 2
#define LLMDB_PAGE 65536u

#define LLMDB_EXPORT(name) __attribute__((export_name(name), visibility("default")))

/* The version and the allocator: whole pages of memory, never given back. */
#define LLMDB_GUEST                                                                     \
    LLMDB_EXPORT("llmdb_abi_version") int32_t llmdb_abi_version(void) {                 \
        return LLMDB_ABI_VERSION;                                                       \
    }                                                                                   \
    LLMDB_EXPORT("llmdb_alloc") void *llmdb_alloc(uint32_t length) {                    \
        size_t pages = length / LLMDB_PAGE + 1;                                         \
        size_t before = __builtin_wasm_memory_grow(0, pages);                           \
        return before == (size_t)-1 ? NULL : (void *)(before * LLMDB_PAGE);             \
    }

struct llmdb_column {
    uint32_t offset;
    uint32_t width;
};

/* What `name` reads: columns of rows. `answer` is the bytes that a map answers for each, 0 for filters and reductions. */
#define LLMDB_COLUMNS(name, answer, ...)                                                \
    enum { name##_count = sizeof((struct llmdb_column[]){__VA_ARGS__}) / sizeof(struct llmdb_column) }; \
    static struct {                                                                     \
        uint32_t head[4];                                                               \
        struct llmdb_column columns[name##_count];                                      \
    } name##_declaration = {{2, answer, name##_count, 0}, {__VA_ARGS__}};               \
    LLMDB_EXPORT(#name "_input") void *name##_input(void) {                             \
        return &name##_declaration;                                                     \
    }

/* What `name` reads: whole pages of `size` bytes. */
#define LLMDB_PAGES(name, answer, size)                                                 \
    static uint32_t name##_declaration[4] = {3, answer, size, 0};                       \
    LLMDB_EXPORT(#name "_input") void *name##_input(void) {                             \
        return name##_declaration;                                                      \
    }

/* Where the column after one of `width` bytes at `column` begins. */
static inline const void *llmdb_next_column(const void *batch, const void *column, uint32_t width, uint32_t count) {
    uint32_t end = (uint32_t)((const char *)column - (const char *)batch) + width * count;
    return (const char *)batch + ((end + 15u) & ~15u);
}

/* The start of a batch of records; its entries follow, `entry_size` apart. */
struct llmdb_batch {
    uint32_t count;
    uint32_t entry_size;
    uint64_t reserved;
};

/* Offsets count from the start of the batch. */
struct llmdb_entry {
    uint32_t key_offset, key_length;
    uint32_t value_offset, value_length;
    int64_t valid_from, valid_to;
};

static inline const struct llmdb_entry *llmdb_entry(const struct llmdb_batch *batch, uint32_t index) {
    return (const struct llmdb_entry *)((const char *)(batch + 1) + (size_t)index * batch->entry_size);
}

/* What NAME_finish answers. */
static inline int64_t llmdb_answer(const void *pointer, uint32_t length) {
    return (int64_t)((uint64_t)(uintptr_t)pointer | (uint64_t)length << 32);
}

#endif
