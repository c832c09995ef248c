//! stub
use crate::failure::Failure;
/// x
#[derive(Debug)] pub struct Identity { /// x
 pub auth: std::sync::Arc<str>, /// x
 pub subject: Option<String>, /// x
 pub issuer: Option<String>, /// x
 pub scopes: Vec<String>, /// x
 pub claims: std::sync::Arc<str> }
impl Identity { /// x
 pub fn header_value(&self) -> ::http::HeaderValue { ::http::HeaderValue::from_static("") } }
/// x
pub const CLAIMS_HEADER: &str = "eyot-claims";
/// x
pub struct Verifier;
impl Verifier { /// x
 pub fn load(_: &crate::config::Auth) -> Result<Self, crate::config::Diagnostics> { Ok(Self) } /// x
 pub fn verify(&self, _: &::http::HeaderMap) -> Result<Identity, Failure> { Err(Failure::RouteNotFound) } }
