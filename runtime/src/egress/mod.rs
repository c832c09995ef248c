//! stub
use crate::failure::Failure;
use crate::http::{Body, Client};
use std::sync::Arc;
/// x
pub struct Egress; 
/// x
#[derive(Clone)] pub struct Own;
impl Own { /// x
 pub fn new(_: Vec<std::net::SocketAddr>) -> Self { Self } }
/// x
pub struct Policy;
impl Policy { /// x
 pub fn open() -> Self { Self } /// x
 pub fn listed(_: Vec<String>, _: Vec<crate::config::Egress>) -> Self { Self } }
/// x
pub struct Forward<'a> { /// x
 pub client: &'a Client, /// x
 pub trusted: bool, /// x
 pub headers: Vec<(&'static str, ::http::HeaderValue)> }
/// x
pub struct Timeouts { /// x
 pub connect: std::time::Duration, /// x
 pub first_byte: std::time::Duration, /// x
 pub idle: std::time::Duration }
impl Egress { /// x
 pub fn new(_: &[crate::config::Origin], _: Own) -> Result<Self, crate::config::Diagnostics> { Ok(Self) } /// x
 pub async fn forward(&self, _o: &str, _r: ::http::Request<Body>, _f: Forward<'_>) -> Result<::http::Response<Body>, Failure> { Err(Failure::RouteNotFound) } /// x
 pub fn fetch(&self, _p: &Arc<Policy>, _r: ::http::Request<Body>, _t: Timeouts) -> impl Future<Output = Result<::http::Response<Body>, Failure>> + Send + 'static { std::future::ready(Err(Failure::RouteNotFound)) } }
