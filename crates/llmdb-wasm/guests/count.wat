;; count: how many records, as a little-endian u64.
;; The smallest guest of the reduce ABI, version 1 (docs/wasm-abi.md).
(module
  (memory (export "memory") 1)

  ;; The first free byte. Nothing is ever given back.
  (global $free (mut i32) (i32.const 1024))

  (func (export "llmdb_abi_version") (result i32) (i32.const 1))

  ;; len bytes at a multiple of 8, or 0.
  (func (export "llmdb_alloc") (param $len i32) (result i32)
    (local $at i32) (local $end i32) (local $have i32)
    (local.set $at (global.get $free))
    (if (i32.gt_u (local.get $len) (i32.const 0x3fffffff)) (then (return (i32.const 0))))
    (local.set $end
      (i32.and (i32.add (i32.add (local.get $at) (local.get $len)) (i32.const 7)) (i32.const -8)))
    (local.set $have (i32.shl (memory.size) (i32.const 16)))
    (if (i32.gt_u (local.get $end) (local.get $have))
      (then
        (if (i32.eq
              (memory.grow
                (i32.shr_u
                  (i32.add (i32.sub (local.get $end) (local.get $have)) (i32.const 0xffff))
                  (i32.const 16)))
              (i32.const -1))
          (then (return (i32.const 0))))))
    (global.set $free (local.get $end))
    (local.get $at))

  ;; The state: the count so far, which the host has set to zero.
  (func (export "count_state_size") (result i32) (i32.const 8))

  ;; The first word of a batch is its number of records.
  (func (export "count") (param $batch i32) (param $len i32) (param $state i32) (result i32)
    (i64.store (local.get $state)
      (i64.add (i64.load (local.get $state)) (i64.load32_u (local.get $batch))))
    (i32.const 0))

  ;; The answer is the state itself: pointer in the low half, length in the high half.
  (func (export "count_finish") (param $state i32) (result i64)
    (i64.or (i64.extend_i32_u (local.get $state)) (i64.shl (i64.const 8) (i64.const 32)))))
