//! stub
use crate::failure::Failure;
use crate::http::Body;
use std::sync::Arc;
/// x
pub struct Egress; 
/// x
pub struct Policy;
/// x
pub struct Timeouts { /// x
 pub connect: std::time::Duration, /// x
 pub first_byte: std::time::Duration, /// x
 pub idle: std::time::Duration }
impl Egress { /// x
 pub fn fetch(&self, _p: &Arc<Policy>, _r: ::http::Request<Body>, _t: Timeouts) -> impl Future<Output = Result<::http::Response<Body>, Failure>> + Send + 'static { std::future::ready(Err(Failure::RouteNotFound)) } }
