//! Telling HTTP/2 with prior knowledge (RFC 9113 §3.3) from HTTP/1 on plain text, without taking a byte off the socket.

use std::io;
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The client connection preface, RFC 9113 §3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Waits for enough bytes to tell. The caller bounds the wait.
pub(super) async fn protocol(stream: &TcpStream) -> io::Result<Protocol> {
    let mut buffer = [0; PREFACE.len()];
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let seen = stream.peek(&mut buffer).await?;
        match tell(&buffer[..seen]) {
            Some(protocol) => return Ok(protocol),
            // There will not be more: HTTP/1 knows what to say to it.
            None if seen == 0 || ready.is_read_closed() => return Ok(Protocol::Http1),
            // Peeking leaves the socket readable. Giving the readiness back makes the next wait one for new bytes.
            None => drop(stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()))),
        }
    }
}

/// Whether the client has sent anything that nobody has read yet.
pub(super) fn has_come(stream: &TcpStream) -> bool {
    let mut first = [MaybeUninit::uninit(); 1];
    SockRef::from(stream).peek(&mut first).is_ok_and(|seen| seen > 0)
}

fn tell(seen: &[u8]) -> Option<Protocol> {
    if seen == PREFACE {
        Some(Protocol::Http2)
    } else if PREFACE.starts_with(seen) {
        None
    } else {
        Some(Protocol::Http1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_preface_is_http2() {
        assert_eq!(tell(b""), None);
        assert_eq!(tell(b"P"), None);
        assert_eq!(tell(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
        assert_eq!(tell(PREFACE), Some(Protocol::Http2));
    }

    #[test]
    fn the_first_different_byte_is_http1() {
        assert_eq!(tell(b"G"), Some(Protocol::Http1));
        assert_eq!(tell(b"PO"), Some(Protocol::Http1));
        assert_eq!(tell(b"PRI * HTTP/1.1"), Some(Protocol::Http1));
    }
}
