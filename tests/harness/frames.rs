//! Frames of HTTP/2 (RFC 9113 §4.1), right or wrong, for clients that no library plays.

use std::io::Read;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Of SETTINGS and PING.
pub const ACK: u8 = 0x01;
pub const END_STREAM: u8 = 0x01;
pub const END_HEADERS: u8 = 0x04;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// What a connection begins with: the preface and these settings (RFC 9113 §3.4, §6.5).
pub fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let payload: Vec<u8> =
        settings.iter().flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect();
    bytes.extend(frame(SETTINGS, 0, 0, &payload));
    bytes
}

/// The fields of a request over http: indexed names, the path and the authority as literals without indexing (RFC 7541 §6).
pub fn request(method: &str, path: &str) -> Vec<u8> {
    let mut fields = vec![if method == "POST" { 0x83 } else { 0x82 }, 0x86, 0x04];
    fields.push(u8::try_from(path.len()).expect("a short path"));
    fields.extend_from_slice(path.as_bytes());
    fields.extend_from_slice(&[0x01, 1, b'a']);
    fields
}

/// A whole GET.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("GET", path))
}

/// A frame that came.
pub struct Received {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The next frame; `None` at the end of the connection, or of patience.
pub fn next(socket: &mut impl Read) -> Option<Received> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    socket.read_exact(&mut payload).ok()?;
    Some(Received { kind, flags, stream: u32::from_be_bytes(stream), payload })
}

/// Whether a response of this stream begins before the connection ends.
pub fn head_of(socket: &mut impl Read, stream: u32) -> bool {
    while let Some(frame) = next(socket) {
        if frame.kind == HEADERS && frame.stream == stream {
            return true;
        }
    }
    false
}
