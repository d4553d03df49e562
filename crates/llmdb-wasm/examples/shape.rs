use wasmparser::*;
fn main(){ for f in std::env::args().skip(1) { let b=std::fs::read(&f).unwrap(); let (mut md,mut ml,mut mp,mut mb,mut mloc,mut mc)=(0usize,0usize,0usize,0usize,0usize,0usize); let mut mbt=0;
 for p in Parser::new(0).parse_all(&b) { if let Payload::CodeSectionEntry(body)=p.unwrap() { let locals:usize=body.get_locals_reader().unwrap().into_iter().map(|g| g.unwrap().0 as usize).sum();
   let mut st:Vec<bool>=vec![]; let (mut d,mut l,mut c)=(0,0,0); let mut bt=0;
   for o in body.get_operators_reader().unwrap() { match o.unwrap() { Operator::Block{..}|Operator::If{..}=>{st.push(false);c+=1}, Operator::Loop{..}=>{st.push(true);c+=1}, Operator::End=>{st.pop();}, Operator::BrTable{targets}=>bt+=targets.len() as usize, _=>{} } d=d.max(st.len()); l=l.max(st.iter().filter(|x|**x).count()); }
   md=md.max(d); ml=ml.max(l); mp=mp.max(c*(locals+3)); mb=mb.max(body.as_bytes().len()); mloc=mloc.max(locals); mc=mc.max(c); mbt=mbt.max(bt); } }
 println!("{f}: depth {md} loops {ml} product {mp} body {mb} locals {mloc} controls {mc} brtable {mbt}"); } }
