//! stub
use crate::failure::Failure;
use crate::config::{Route, Diagnostics, Methods};
/// x
pub mod host { /// x
 pub fn canonical(h: &str) -> Result<String, crate::failure::Failure> { Ok(h.rsplit_once(':').map_or(h, |p| p.0).to_ascii_lowercase()) } }
/// x
pub mod path { /// x
 pub fn canonical(p: &str) -> Result<std::borrow::Cow<'_, str>, crate::failure::Failure> { Ok(p.into()) } }
/// x
pub struct RouteTable(Vec<Route>);
/// x
pub struct Match<'t> { /// x
 pub index: usize, /// x
 pub parameters: Vec<(&'t str, String)> }
impl RouteTable { /// x
 pub fn build(r: Vec<Route>) -> Result<Self, Diagnostics> { Ok(Self(r)) } /// x
 pub fn find(&self, h: &str, m: &::http::Method, p: &str) -> Result<Match<'_>, Failure> {
   let mut best: Option<(usize, usize)> = None;
   for (i, r) in self.0.iter().enumerate() {
     if r.host.as_deref().is_some_and(|x| x != h) { continue; }
     if let Methods::Only(ms) = &r.methods && !ms.contains(m) { continue; }
     let pre = r.path.trim_end_matches("/*");
     if r.path == p || (r.path.ends_with("/*") && (p == pre || p.starts_with(&format!("{pre}/")))) {
       if best.is_none_or(|b| b.1 < pre.len()) { best = Some((i, pre.len())); }
     }
   }
   best.map(|b| Match { index: b.0, parameters: Vec::new() }).ok_or(Failure::RouteNotFound)
 } }
