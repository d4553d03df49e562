;; Functions over pages of 4,096 bytes and over columns of rows, for the ABI, version 2 (docs/wasm-abi.md).
;;
;;   key32            map      32 bytes at the start of each row -> u64: the sum of its four words
;;   page_key         map      the same of whole pages: the 32 bytes at the start of each
;;   key_is_even      filter   8 bytes at the start of each row: keeps even numbers
;;   page_sum         map      a page -> u64: the sum of its 512 words, two at a time
;;   page_sum_scalar  map      the same, one at a time
;;   page_pick        map      a page -> u64: of its 64 records of 64 bytes, the second words of those whose first
;;                             byte is below 26, added
;;   downsample       map      a page of 256 samples, a time (i64) and a number (f64) each -> the first time, the least
;;                             number, the greatest, the mean
;;   totals           reduce   two columns of 8 bytes, at 0 and at 16 -> two u64: their sums
;;
;; All numbers are little-endian, all sums wrap.
(module
  (memory (export "memory") 1)

  ;; What the functions read and answer: see "Input" in docs/wasm-abi.md.
  ;; key32: columns, 8 bytes an answer, one column: 0, 32.
  (data (i32.const 64) "\02\00\00\00\08\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\20\00\00\00")
  ;; key_is_even: columns, one: 0, 8.
  (data (i32.const 96) "\02\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\08\00\00\00")
  ;; The maps of pages: pages, 8 bytes an answer, 4,096 bytes a page.
  (data (i32.const 128) "\03\00\00\00\08\00\00\00\00\10\00\00\00\00\00\00")
  ;; downsample: pages, 32 bytes an answer, 4,096 bytes a page.
  (data (i32.const 144) "\03\00\00\00\20\00\00\00\00\10\00\00\00\00\00\00")
  ;; totals: columns, two: 0, 8 and 16, 8.
  (data (i32.const 160) "\02\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00\00\00\00\00\08\00\00\00\10\00\00\00\08\00\00\00")

  ;; The first free byte. Nothing is ever given back.
  (global $free (mut i32) (i32.const 1024))

  (func (export "llmdb_abi_version") (result i32) (i32.const 2))

  ;; len bytes at a multiple of 16, or 0.
  (func (export "llmdb_alloc") (param $len i32) (result i32)
    (local $at i32) (local $end i32) (local $have i32)
    (local.set $at (global.get $free))
    (if (i32.gt_u (local.get $len) (i32.const 0x3fffffff)) (then (return (i32.const 0))))
    (local.set $end
      (i32.and (i32.add (i32.add (local.get $at) (local.get $len)) (i32.const 15)) (i32.const -16)))
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

  (func (export "key32_input") (result i32) (i32.const 64))
  (func (export "key32_map") (param $at i32) (param $count i32) (param $out i32) (result i64)
    (local $end i32)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 3))))
    (block $done
      (br_if $done (i32.eqz (local.get $count)))
      (loop $next
        (i64.store (local.get $out)
          (i64.add
            (i64.add (i64.load (local.get $at)) (i64.load offset=8 (local.get $at)))
            (i64.add (i64.load offset=16 (local.get $at)) (i64.load offset=24 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (local.set $out (i32.add (local.get $out) (i32.const 8)))
        (br_if $next (i32.ne (local.get $out) (local.get $end)))))
    (i64.const 0))

  (func (export "key_is_even_input") (result i32) (i32.const 96))
  (func (export "key_is_even_filter") (param $at i32) (param $count i32) (param $out i32) (result i64)
    (local $end i32)
    (local.set $end (i32.add (local.get $out) (local.get $count)))
    (block $done
      (br_if $done (i32.eqz (local.get $count)))
      (loop $next
        (i32.store8 (local.get $out)
          (i32.and (i32.xor (i32.load8_u (local.get $at)) (i32.const 1)) (i32.const 1)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $out (i32.add (local.get $out) (i32.const 1)))
        (br_if $next (i32.ne (local.get $out) (local.get $end)))))
    (i64.const 0))

  (func (export "page_sum_input") (result i32) (i32.const 128))
  (func (export "page_sum_map") (param $at i32) (param $count i32) (param $out i32) (result i64)
    (local $end i32) (local $page_end i32)
    (local $a0 v128) (local $a1 v128) (local $a2 v128) (local $a3 v128)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 3))))
    (block $done
      (br_if $done (i32.eqz (local.get $count)))
      (loop $next
        (local.set $page_end (i32.add (local.get $at) (i32.const 4096)))
        (local.set $a0 (v128.const i64x2 0 0))
        (local.set $a1 (v128.const i64x2 0 0))
        (local.set $a2 (v128.const i64x2 0 0))
        (local.set $a3 (v128.const i64x2 0 0))
        (loop $words
            (local.set $a0 (i64x2.add (local.get $a0) (v128.load offset=0 (local.get $at))))
            (local.set $a1 (i64x2.add (local.get $a1) (v128.load offset=16 (local.get $at))))
            (local.set $a2 (i64x2.add (local.get $a2) (v128.load offset=32 (local.get $at))))
            (local.set $a3 (i64x2.add (local.get $a3) (v128.load offset=48 (local.get $at))))
            (local.set $a0 (i64x2.add (local.get $a0) (v128.load offset=64 (local.get $at))))
            (local.set $a1 (i64x2.add (local.get $a1) (v128.load offset=80 (local.get $at))))
            (local.set $a2 (i64x2.add (local.get $a2) (v128.load offset=96 (local.get $at))))
            (local.set $a3 (i64x2.add (local.get $a3) (v128.load offset=112 (local.get $at))))
            (local.set $a0 (i64x2.add (local.get $a0) (v128.load offset=128 (local.get $at))))
            (local.set $a1 (i64x2.add (local.get $a1) (v128.load offset=144 (local.get $at))))
            (local.set $a2 (i64x2.add (local.get $a2) (v128.load offset=160 (local.get $at))))
            (local.set $a3 (i64x2.add (local.get $a3) (v128.load offset=176 (local.get $at))))
            (local.set $a0 (i64x2.add (local.get $a0) (v128.load offset=192 (local.get $at))))
            (local.set $a1 (i64x2.add (local.get $a1) (v128.load offset=208 (local.get $at))))
            (local.set $a2 (i64x2.add (local.get $a2) (v128.load offset=224 (local.get $at))))
            (local.set $a3 (i64x2.add (local.get $a3) (v128.load offset=240 (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 256)))
          (br_if $words (i32.ne (local.get $at) (local.get $page_end))))
        (local.set $a0
          (i64x2.add
            (i64x2.add (local.get $a0) (local.get $a1))
            (i64x2.add (local.get $a2) (local.get $a3))))
        (i64.store (local.get $out)
          (i64.add (i64x2.extract_lane 0 (local.get $a0)) (i64x2.extract_lane 1 (local.get $a0))))
        (local.set $out (i32.add (local.get $out) (i32.const 8)))
        (br_if $next (i32.ne (local.get $out) (local.get $end)))))
    (i64.const 0))

  (func (export "page_sum_scalar_input") (result i32) (i32.const 128))
  (func (export "page_sum_scalar_map") (param $at i32) (param $count i32) (param $out i32) (result i64)
    (local $end i32) (local $page_end i32)
    (local $a0 i64) (local $a1 i64) (local $a2 i64) (local $a3 i64)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 3))))
    (block $done
      (br_if $done (i32.eqz (local.get $count)))
      (loop $next
        (local.set $page_end (i32.add (local.get $at) (i32.const 4096)))
        (local.set $a0 (i64.const 0))
        (local.set $a1 (i64.const 0))
        (local.set $a2 (i64.const 0))
        (local.set $a3 (i64.const 0))
        (loop $words
            (local.set $a0 (i64.add (local.get $a0) (i64.load offset=0 (local.get $at))))
            (local.set $a1 (i64.add (local.get $a1) (i64.load offset=8 (local.get $at))))
            (local.set $a2 (i64.add (local.get $a2) (i64.load offset=16 (local.get $at))))
            (local.set $a3 (i64.add (local.get $a3) (i64.load offset=24 (local.get $at))))
            (local.set $a0 (i64.add (local.get $a0) (i64.load offset=32 (local.get $at))))
            (local.set $a1 (i64.add (local.get $a1) (i64.load offset=40 (local.get $at))))
            (local.set $a2 (i64.add (local.get $a2) (i64.load offset=48 (local.get $at))))
            (local.set $a3 (i64.add (local.get $a3) (i64.load offset=56 (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 64)))
          (br_if $words (i32.ne (local.get $at) (local.get $page_end))))
        (i64.store (local.get $out)
          (i64.add
            (i64.add (local.get $a0) (local.get $a1))
            (i64.add (local.get $a2) (local.get $a3))))
        (local.set $out (i32.add (local.get $out) (i32.const 8)))
        (br_if $next (i32.ne (local.get $out) (local.get $end)))))
    (i64.const 0))

  (func (export "page_pick_input") (result i32) (i32.const 128))
  (func (export "page_pick_map") (param $at i32) (param $count i32) (param $out i32) (result i64)
    (local $end i32) (local $page_end i32) (local $sum i64)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 3))))
    (block $done
      (br_if $done (i32.eqz (local.get $count)))
      (loop $next
        (local.set $page_end (i32.add (local.get $at) (i32.const 4096)))
        (local.set $sum (i64.const 0))
        (loop $records
          (if (i32.lt_u (i32.load8_u (local.get $at)) (i32.const 26))
            (then (local.set $sum (i64.add (local.get $sum) (i64.load offset=8 (local.get $at))))))
          (local.set $at (i32.add (local.get $at) (i32.const 64)))
          (br_if $records (i32.ne (local.get $at) (local.get $page_end))))
        (i64.store (local.get $out) (local.get $sum))
        (local.set $out (i32.add (local.get $out) (i32.const 8)))
        (br_if $next (i32.ne (local.get $out) (local.get $end)))))
    (i64.const 0))

  (func (export "downsample_input") (result i32) (i32.const 144))
  (func (export "downsample_map") (param $at i32) (param $count i32) (param $out i32) (result i64)
    (local $end i32) (local $page_end i32) (local $number f64)
    (local $least f64) (local $greatest f64) (local $sum f64)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 5))))
    (block $done
      (br_if $done (i32.eqz (local.get $count)))
      (loop $next
        (i64.store (local.get $out) (i64.load (local.get $at)))
        (local.set $page_end (i32.add (local.get $at) (i32.const 4096)))
        (local.set $least (f64.const inf))
        (local.set $greatest (f64.const -inf))
        (local.set $sum (f64.const 0))
        (loop $samples
          (local.set $number (f64.load offset=8 (local.get $at)))
          (local.set $sum (f64.add (local.get $sum) (local.get $number)))
          (local.set $least
            (select (local.get $number) (local.get $least) (f64.lt (local.get $number) (local.get $least))))
          (local.set $greatest
            (select (local.get $number) (local.get $greatest) (f64.gt (local.get $number) (local.get $greatest))))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if $samples (i32.ne (local.get $at) (local.get $page_end))))
        (f64.store offset=8 (local.get $out) (local.get $least))
        (f64.store offset=16 (local.get $out) (local.get $greatest))
        (f64.store offset=24 (local.get $out) (f64.mul (local.get $sum) (f64.const 0x1p-8)))
        (local.set $out (i32.add (local.get $out) (i32.const 32)))
        (br_if $next (i32.ne (local.get $out) (local.get $end)))))
    (i64.const 0))

  (func (export "totals_input") (result i32) (i32.const 160))
  (func (export "totals_state_size") (result i32) (i32.const 16))
  (func (export "totals") (param $first i32) (param $count i32) (param $state i32) (result i32)
    (local $second i32) (local $end i32)
    ;; The second column begins at the next multiple of 16.
    (local.set $end (i32.add (local.get $first) (i32.shl (local.get $count) (i32.const 3))))
    (local.set $second
      (i32.add (local.get $first)
        (i32.and (i32.add (i32.shl (local.get $count) (i32.const 3)) (i32.const 15)) (i32.const -16))))
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $first) (local.get $end)))
        (i64.store (local.get $state)
          (i64.add (i64.load (local.get $state)) (i64.load (local.get $first))))
        (i64.store offset=8 (local.get $state)
          (i64.add (i64.load offset=8 (local.get $state)) (i64.load (local.get $second))))
        (local.set $first (i32.add (local.get $first) (i32.const 8)))
        (local.set $second (i32.add (local.get $second) (i32.const 8)))
        (br $next)))
    (i32.const 0))
  (func (export "totals_finish") (param $state i32) (result i64)
    (i64.or (i64.extend_i32_u (local.get $state)) (i64.shl (i64.const 16) (i64.const 32))))

  ;; Last, so that the code of the others stays where it was: the loop of page_pick, unmetered, is 40 % slower or faster
  ;; by where it lies.
  (func (export "page_key_input") (result i32) (i32.const 128))
  (func (export "page_key_map") (param $at i32) (param $count i32) (param $out i32) (result i64)
    (local $end i32)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 3))))
    (block $done
      (br_if $done (i32.eqz (local.get $count)))
      (loop $next
        (i64.store (local.get $out)
          (i64.add
            (i64.add (i64.load (local.get $at)) (i64.load offset=8 (local.get $at)))
            (i64.add (i64.load offset=16 (local.get $at)) (i64.load offset=24 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))
        (local.set $out (i32.add (local.get $out) (i32.const 8)))
        (br_if $next (i32.ne (local.get $out) (local.get $end)))))
    (i64.const 0)))
