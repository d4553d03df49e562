use std::time::Instant;
use llmdb_wasm::*;
fn leb(mut n: usize) -> Vec<u8> { let mut b=vec![]; loop { let l=(n&0x7f) as u8; n>>=7; b.push(if n==0 {l} else {l|0x80}); if n==0 {return b;} } }
fn module(body:&[u8])->Vec<u8>{
    let code=[leb(1),leb(body.len()),body.to_vec()].concat();
    let mut m=b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x07\x01\x03run\0\0\x0a".to_vec();
    m.extend(leb(code.len())); m.extend(code); m }
fn go(name:&str, body:&[u8]) { let t=Instant::now(); let r=Runtime::default().compile(&module(body)); println!("{name}: body {} KB {:?} {:?}", body.len()/1024, t.elapsed(), r.map(|_|()).map_err(|e|e.to_string()));
  let s=std::fs::read_to_string("/proc/self/status").unwrap(); println!("   {}", s.lines().find(|l|l.starts_with("VmHWM")).unwrap()); }
fn main(){
    for n in [1000usize,2000,4000,10000,20000] { let mut b=vec![0u8]; b.extend([0x02,0x40].repeat(n)); b.extend([0x0b].repeat(n+1)); go(&format!("nest {n}"),&b); }
    for (l,n) in [(100usize,1000usize),(1000,1000),(1000,4000),(1000,40000),(10000,1000)] { let mut b=vec![1u8]; b.extend(leb(l)); b.push(0x7f);
       for i in 0..l { b.extend([0x3f,0x00,0x21]); b.extend(leb(i)); } // memory.size needs memory
       let mut b=vec![1u8]; b.extend(leb(l)); b.push(0x7f);
       for i in 0..l { b.extend([0x41]); b.push((i%60) as u8); b.push(0x21); b.extend(leb(i)); }
       for _ in 0..n { b.extend([0x20,0x00,0x04,0x40,0x0b]); }
       for i in 0..l { b.push(0x20); b.extend(leb(i)); b.push(0x1a); }
       b.push(0x0b); go(&format!("locals {l} ifs {n}"),&b); }
    for (l,n) in [(1000usize,100usize),(1000,1000),(1000,4000)] { 
       let mut b=vec![1u8]; b.extend(leb(l)); b.push(0x7f);
       for _ in 0..n { b.extend([0x03,0x40]); }
       for i in 0..l { b.push(0x20); b.extend(leb(i)); b.extend([0x41,1,0x6a,0x21]); b.extend(leb(i)); }
       for _ in 0..n { b.extend([0x20,0x00,0x0d,0x00,0x0b]); }
       b.push(0x0b); go(&format!("locals {l} nested loops {n}"),&b); }
    { let n=200000; let mut b=vec![0u8,0x02,0x40,0x41,0,0x0e]; b.extend(leb(n)); b.extend(vec![0u8;n+1]); b.extend([0x0b,0x0b]); go("br_table 200k",&b); }
    { let n=1000; let mut b=vec![0u8]; b.extend([0x02,0x40].repeat(n)); for _ in 0..100 { b.extend([0x02,0x40,0x41,0,0x0e]); b.extend(leb(n)); for i in 0..=n { b.extend(leb(i)); } b.push(0x0b);} b.extend([0x0b].repeat(n+1)); go("100 br_table of 1000 labels",&b); }
    { let mut b=vec![1u8,1,0x7f]; for _ in 0..60000 { b.extend([0x20,0,0x41,3,0x6c,0x21,0]); } b.push(0x0b); go("straight 60k mul",&b); }
    { let mut b=vec![0u8]; b.extend([0x41,1].repeat(1000)); b.extend([0x6a].repeat(999)); b.push(0x1a); for _ in 0..100 { b.extend([0x41,1].repeat(1000)); b.extend([0x6a].repeat(999)); b.push(0x1a);} b.push(0x0b); go("deep stack", &b); }
    { let mut b=vec![0u8]; for _ in 0..100000 { b.extend([0x41,0,0x1a]); } b.push(0x0b); go("consts", &b); }
    { let n=60000; let mut b=vec![0u8]; for _ in 0..n { b.extend([0x03,0x40,0x41,0,0x0d,0,0x0b]); } b.push(0x0b); go("seq loops 60k", &b); }
    { let n=60000; let mut b=vec![0u8]; for _ in 0..n { b.extend([0x10,0x00]); } b.push(0x0b); go("calls 60k", &b); }
}
