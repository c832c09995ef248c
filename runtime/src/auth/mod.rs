//! stub
/// x
#[derive(Debug)] pub struct Identity;
