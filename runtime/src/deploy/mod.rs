//! stub
use crate::failure::Failure;
use crate::config::{Route, Diagnostics};
/// x
pub mod host { /// x
 pub fn canonical(_: &str) -> Result<String, crate::failure::Failure> { Ok(String::new()) } }
/// x
pub mod path { /// x
 pub fn canonical(p: &str) -> Result<std::borrow::Cow<'_, str>, crate::failure::Failure> { Ok(p.into()) } }
/// x
pub struct RouteTable;
/// x
pub struct Match<'t> { /// x
 pub index: usize, /// x
 pub parameters: Vec<(&'t str, String)> }
impl RouteTable { /// x
 pub fn build(_: Vec<Route>) -> Result<Self, Diagnostics> { Ok(Self) } /// x
 pub fn find(&self, _h: &str, _m: &::http::Method, _p: &str) -> Result<Match<'_>, Failure> { Err(Failure::RouteNotFound) } }
