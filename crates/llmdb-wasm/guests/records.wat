;; Functions over records, for the ABI, version 2 (docs/wasm-abi.md).
;;
;;   value_size   map      the value -> u64, little-endian: its bytes
;;   value        map      the value -> the same bytes: an answer of any length
;;   is_text      filter   keeps values that are JSON strings
;;
;; All three declare the value only, so they see no key.
(module
  (memory (export "memory") 1)

  ;; Records, of which the value; 8 bytes an answer, any length, and none for the filter.
  (data (i32.const 64) "\01\00\00\00\08\00\00\00\02\00\00\00\00\00\00\00")
  (data (i32.const 80) "\01\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00")

  ;; The first free byte. Nothing is ever given back.
  (global $free (mut i32) (i32.const 1024))
  ;; The answers of `value`, and the bytes that there is room for.
  (global $answers (mut i32) (i32.const 0))
  (global $room (mut i32) (i32.const 0))

  (func (export "llmdb_abi_version") (result i32) (i32.const 2))

  ;; len bytes at a multiple of 8, or 0.
  (func $alloc (export "llmdb_alloc") (param $len i32) (result i32)
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

  (func (export "value_size_input") (result i32) (i32.const 64))
  (func (export "value_size_map") (param $batch i32) (param $len i32) (param $out i32) (result i64)
    (local $entry i32) (local $step i32) (local $end i32)
    (local.set $step (i32.load offset=4 (local.get $batch)))
    (local.set $entry (i32.add (local.get $batch) (i32.const 16)))
    (local.set $end
      (i32.add (local.get $entry) (i32.mul (local.get $step) (i32.load (local.get $batch)))))
    (loop $next
      (i64.store (local.get $out) (i64.load32_u offset=12 (local.get $entry)))
      (local.set $out (i32.add (local.get $out) (i32.const 8)))
      (local.set $entry (i32.add (local.get $entry) (local.get $step)))
      (br_if $next (i32.lt_u (local.get $entry) (local.get $end))))
    (i64.const 0))

  (func (export "value_input") (result i32) (i32.const 80))
  (func (export "value_map") (param $batch i32) (param $len i32) (param $out i32) (result i64)
    (local $entry i32) (local $step i32) (local $end i32) (local $ends i32) (local $size i32)
    (local $bytes i32) (local $at i32)
    ;; An end for each is smaller than its entry, so the answers are never larger than the batch.
    (if (i32.lt_u (global.get $room) (local.get $len))
      (then
        (local.set $size (i32.shl (local.get $len) (i32.const 1)))
        (global.set $answers (call $alloc (local.get $size)))
        (if (i32.eqz (global.get $answers)) (then (return (i64.const -1))))
        (global.set $room (local.get $size))))
    (local.set $step (i32.load offset=4 (local.get $batch)))
    (local.set $entry (i32.add (local.get $batch) (i32.const 16)))
    (local.set $end
      (i32.add (local.get $entry) (i32.mul (local.get $step) (i32.load (local.get $batch)))))
    (local.set $ends (global.get $answers))
    (local.set $bytes (i32.add (local.get $ends) (i32.shl (i32.load (local.get $batch)) (i32.const 2))))
    (loop $next
      (local.set $size (i32.load offset=12 (local.get $entry)))
      (memory.copy
        (i32.add (local.get $bytes) (local.get $at))
        (i32.add (local.get $batch) (i32.load offset=8 (local.get $entry)))
        (local.get $size))
      (local.set $at (i32.add (local.get $at) (local.get $size)))
      (i32.store (local.get $ends) (local.get $at))
      (local.set $ends (i32.add (local.get $ends) (i32.const 4)))
      (local.set $entry (i32.add (local.get $entry) (local.get $step)))
      (br_if $next (i32.lt_u (local.get $entry) (local.get $end))))
    ;; Where they are, and how long: the ends, then the bytes.
    (i64.or
      (i64.extend_i32_u (global.get $answers))
      (i64.shl
        (i64.extend_i32_u
          (i32.add (i32.sub (local.get $bytes) (global.get $answers)) (local.get $at)))
        (i64.const 32))))

  (func (export "is_text_input") (result i32) (i32.const 80))
  (func (export "is_text_filter") (param $batch i32) (param $len i32) (param $out i32) (result i64)
    (local $entry i32) (local $step i32) (local $end i32) (local $text i32)
    (local.set $step (i32.load offset=4 (local.get $batch)))
    (local.set $entry (i32.add (local.get $batch) (i32.const 16)))
    (local.set $end
      (i32.add (local.get $entry) (i32.mul (local.get $step) (i32.load (local.get $batch)))))
    (loop $next
      (local.set $text (i32.const 0))
      (if (i32.load offset=12 (local.get $entry))
        (then
          (local.set $text
            (i32.eq
              (i32.load8_u (i32.add (local.get $batch) (i32.load offset=8 (local.get $entry))))
              (i32.const 0x22)))))
      (i32.store8 (local.get $out) (local.get $text))
      (local.set $out (i32.add (local.get $out) (i32.const 1)))
      (local.set $entry (i32.add (local.get $entry) (local.get $step)))
      (br_if $next (i32.lt_u (local.get $entry) (local.get $end))))
    (i64.const 0)))
