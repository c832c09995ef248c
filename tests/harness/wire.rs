//! What a node makes of raw bytes: each answer's status and code, and whether the connection ended.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// What came back until the end of the connection, or of patience.
pub struct Wire {
    pub bytes: Vec<u8>,
    /// The node closed its side, or reset the connection.
    pub closed: bool,
}

impl Wire {
    /// Sends the bytes and reads to the end.
    pub fn exchange(mut socket: TcpStream, bytes: impl AsRef<[u8]>) -> Self {
        // The node may refuse and close before it has everything.
        let _ = socket.write_all(bytes.as_ref());
        Self::read(&mut socket)
    }

    /// The same, from a client that says that nothing more will come.
    pub fn last_words(mut socket: TcpStream, bytes: impl AsRef<[u8]>) -> Self {
        let _ = socket.write_all(bytes.as_ref());
        let _ = socket.shutdown(Shutdown::Write);
        Self::read(&mut socket)
    }

    /// Reads to the end.
    pub fn read(socket: &mut TcpStream) -> Self {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        loop {
            match socket.read(&mut buffer) {
                Ok(0) => return Self { bytes, closed: true },
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                Err(error) => {
                    use std::io::ErrorKind::{TimedOut, WouldBlock};
                    return Self { bytes, closed: !matches!(error.kind(), WouldBlock | TimedOut) };
                }
            }
        }
    }

    /// The status and the failure's code of each answer, in order. For answers whose bodies hold no status line.
    pub fn answers(&self) -> Vec<(u16, String)> {
        let text = self.text();
        let starts = text.match_indices("HTTP/1.").map(|(at, _)| at);
        let answer = |at: usize| {
            let head = text[at..].split("\r\n\r\n").next().unwrap_or_default();
            let code = head.lines().find_map(|line| line.strip_prefix("eyot-error: ")).unwrap_or_default();
            let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
            (status, code.to_owned())
        };
        starts.map(answer).collect()
    }

    /// As text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
