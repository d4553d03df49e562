;; offset_stats: over values that are JSON text with a number "utc_offset_s", how many had it, the least, the
;; greatest and the sum, as four little-endian i64. Values without it are passed over.
;; A guest of the reduce ABI, version 1 (docs/wasm-abi.md).
(module
  (memory (export "memory") 1)

  ;; What to look for, 14 bytes. The first 8 and the last 8 of them are compared as one word each.
  (data (i32.const 16) "\"utc_offset_s\"")

  (global $free (mut i32) (i32.const 1024))

  (func (export "llmdb_abi_version") (result i32) (i32.const 1))

  ;; len bytes at a multiple of 8, or 0. Nothing is ever given back.
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

  ;; The state: count, min, max, sum, which the host has set to zero. It is also the answer.
  (func (export "offset_stats_state_size") (result i32) (i32.const 32))

  (func (export "offset_stats_finish") (param $state i32) (result i64)
    (i64.or (i64.extend_i32_u (local.get $state)) (i64.shl (i64.const 32) (i64.const 32))))

  (func (export "offset_stats") (param $batch i32) (param $len i32) (param $state i32) (result i32)
    (local $entry i32) (local $left i32) (local $value i32)
    (local.set $left (i32.load (local.get $batch)))
    (local.set $entry (i32.add (local.get $batch) (i32.const 16)))
    (block $done
      (loop $records
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $value (i32.add (local.get $batch) (i32.load offset=8 (local.get $entry))))
        (call $record
          (local.get $value)
          (i32.add (local.get $value) (i32.load offset=12 (local.get $entry)))
          (local.get $state))
        ;; The size of an entry is in the header: later versions may have larger ones.
        (local.set $entry (i32.add (local.get $entry) (i32.load offset=4 (local.get $batch))))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $records)))
    (i32.const 0))

  ;; Looks for the field in the bytes from $at to $end, and adds its number to the state.
  (func $record (param $at i32) (param $end i32) (param $state i32)
    (local $last i32) (local $head i64) (local $tail i64)
    (local.set $head (i64.load (i32.const 16)))
    (local.set $tail (i64.load (i32.const 22)))
    ;; The last place where the field could begin; before $at when the value is too short.
    (local.set $last (i32.sub (local.get $end) (i32.const 14)))
    (block $absent
      (loop $search
        (br_if $absent (i32.gt_s (local.get $at) (local.get $last)))
        (if (i64.eq (i64.load (local.get $at)) (local.get $head))
          (then
            (if (i64.eq (i64.load offset=6 (local.get $at)) (local.get $tail))
              (then
                (if (call $number
                      (i32.add (local.get $at) (i32.const 14)) (local.get $end) (local.get $state))
                  (then (return)))))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $search))))

  ;; The byte at $at, or -1 at the end.
  (func $peek (param $at i32) (param $end i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $at) (local.get $end))
      (then (i32.load8_u (local.get $at)))
      (else (i32.const -1))))

  ;; The first byte from $at that is no JSON white space.
  (func $skip_space (param $at i32) (param $end i32) (result i32)
    (local $byte i32)
    (loop $space
      (local.set $byte (call $peek (local.get $at) (local.get $end)))
      (if (i32.or
            (i32.or (i32.eq (local.get $byte) (i32.const 0x20)) (i32.eq (local.get $byte) (i32.const 0x09)))
            (i32.or (i32.eq (local.get $byte) (i32.const 0x0a)) (i32.eq (local.get $byte) (i32.const 0x0d))))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $space))))
    (local.get $at))

  ;; Reads ": NUMBER" and adds it to the state; 0 where there is no whole number, as in null.
  (func $number (param $at i32) (param $end i32) (param $state i32) (result i32)
    (local $sign i64) (local $n i64) (local $digits i32) (local $digit i32)
    (local.set $at (call $skip_space (local.get $at) (local.get $end)))
    (if (i32.ne (call $peek (local.get $at) (local.get $end)) (i32.const 0x3a))
      (then (return (i32.const 0))))
    (local.set $at (call $skip_space (i32.add (local.get $at) (i32.const 1)) (local.get $end)))
    (local.set $sign (i64.const 1))
    (if (i32.eq (call $peek (local.get $at) (local.get $end)) (i32.const 0x2d))
      (then
        (local.set $sign (i64.const -1))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))))
    (block $end_of_number
      (loop $more
        (local.set $digit (i32.sub (call $peek (local.get $at) (local.get $end)) (i32.const 0x30)))
        (br_if $end_of_number (i32.gt_u (local.get $digit) (i32.const 9)))
        (local.set $n
          (i64.add (i64.mul (local.get $n) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))
        (local.set $digits (i32.add (local.get $digits) (i32.const 1)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $more)))
    (if (i32.eqz (local.get $digits)) (then (return (i32.const 0))))
    (call $add (i64.mul (local.get $sign) (local.get $n)) (local.get $state))
    (i32.const 1))

  (func $add (param $n i64) (param $state i32)
    (if (i64.eqz (i64.load (local.get $state)))
      (then
        (i64.store offset=8 (local.get $state) (local.get $n))
        (i64.store offset=16 (local.get $state) (local.get $n))))
    (if (i64.lt_s (local.get $n) (i64.load offset=8 (local.get $state)))
      (then (i64.store offset=8 (local.get $state) (local.get $n))))
    (if (i64.gt_s (local.get $n) (i64.load offset=16 (local.get $state)))
      (then (i64.store offset=16 (local.get $state) (local.get $n))))
    (i64.store (local.get $state) (i64.add (i64.load (local.get $state)) (i64.const 1)))
    (i64.store offset=24 (local.get $state)
      (i64.add (i64.load offset=24 (local.get $state)) (local.get $n)))))
