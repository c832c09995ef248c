//! The frames of a stream, one at a time: what h3 gets to see of them.
//!
//! h3 reads a frame other than DATA whole before it looks at it, whatever length it declares, and an unknown one too; it takes an empty
//! DATA frame for the end of the content, and the end of a stream in the middle of one for a clean end; and whenever it is asked for a
//! frame it takes another piece of the stream, also while it has one. So it is given whole frames of bounded length, content in pieces
//! that end where their frame ends, nothing that is empty or unknown, and no end but behind a frame.

use bytes::{Buf, Bytes};
use h3::error::Code;

use super::fields::{self, Section};

const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
const CANCEL_PUSH: u64 = 0x03;
const SETTINGS: u64 = 0x04;
const PUSH_PROMISE: u64 = 0x05;
const GOAWAY: u64 = 0x07;
const MAX_PUSH_ID: u64 = 0x0d;

/// PRIORITY, PING, WINDOW_UPDATE and CONTINUATION of HTTP/2, which HTTP/3 does not have (RFC 9114 §7.2.8).
const OF_HTTP2: [u64; 4] = [0x02, 0x06, 0x08, 0x09];

/// A SETTINGS frame has a few numbers; on a control stream nothing is longer.
const LONGEST_OF_CONTROL: u64 = 4096;

/// The longest type and length: two numbers of eight bytes (RFC 9000 §16).
const HEAD: usize = 16;

/// In place of a head that is too large: GET of `/`, of a host without a name. Nobody is asked for it.
const STAND_IN: &[u8] = b"\x01\x08\x00\x00\xd1\xd7\xc1\x50\x01x";

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Opened by the client in both directions.
    Request,
    /// The client's control stream (RFC 9114 §6.2.1), behind its type.
    Control,
}

/// What a head may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    /// Bytes of a field section, encoded and decoded.
    pub(super) bytes: u64,
    /// Fields.
    pub(super) fields: u64,
}

/// What the client did that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    /// Whether it ends the connection, or this stream alone.
    pub(super) of_connection: bool,
    pub(super) why: &'static str,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These bytes are for h3.
    Pass(Bytes),
    /// The head of the request is too large; these stand in for it.
    TooLarge(Bytes),
    /// The head, or the trailers, break a rule that h3 does not know of.
    Malformed(Bytes),
    /// A frame that brings nothing. There may be more.
    Nothing,
    /// These are for h3, and bring as little.
    Idle(Bytes),
    /// What there was is used up.
    Wanting,
}

/// Goes from frame to frame through bytes that come in any pieces.
#[derive(Debug)]
pub(super) struct Frames {
    kind: Kind,
    most: Most,
    state: State,
    head: [u8; HEAD],
    known: usize,
    /// HEADERS that there have been.
    sections: u8,
}

#[derive(Debug)]
enum State {
    /// Before a frame, or in its type and length.
    Between,
    /// In content, with so much to come.
    Content(u64),
    /// In what nobody wants.
    Unwanted(u64),
    /// In a frame that is passed on whole, with so much to come.
    Whole { kind: u64, behind: usize, frame: Vec<u8>, left: usize },
}

fn of_connection(code: Code, why: &'static str) -> Fault {
    Fault { code, of_connection: true, why }
}

impl Frames {
    pub(super) fn of(kind: Kind, most: Most) -> Self {
        Self { kind, most, state: State::Between, head: [0; HEAD], known: 0, sections: 0 }
    }

    /// Takes from these bytes what comes next.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Next, Fault> {
        loop {
            if let State::Whole { left: 0, .. } = self.state
                && let State::Whole { kind, behind, frame, .. } = std::mem::replace(&mut self.state, State::Between)
            {
                return self.whole(kind, behind, frame);
            }
            match &mut self.state {
                State::Between => match self.begin(bytes)? {
                    Some(next) => return Ok(next),
                    None => continue,
                },
                State::Content(0) | State::Unwanted(0) => self.state = State::Between,
                _ if bytes.is_empty() => return Ok(Next::Wanting),
                State::Content(left) => return Ok(Next::Pass(take(bytes, left))),
                State::Unwanted(left) => drop(take(bytes, left)),
                State::Whole { frame, left, .. } => {
                    let piece = bytes.split_to(bytes.len().min(*left));
                    *left -= piece.len();
                    frame.extend_from_slice(&piece);
                }
            }
        }
    }

    /// What is kept of a frame until it is whole, in bytes.
    pub(super) fn held(&self) -> u64 {
        match &self.state {
            State::Whole { frame, .. } => frame.len() as u64,
            _ => 0,
        }
    }

    /// The stream ends here.
    pub(super) fn end(&self) -> Result<(), Fault> {
        match self.state {
            State::Between | State::Content(0) | State::Unwanted(0) if self.known == 0 => Ok(()),
            // RFC 9114 §7.1.
            _ => Err(of_connection(Code::H3_FRAME_ERROR, "the stream ends within a frame")),
        }
    }

    /// Reads the type and the length of a frame, and decides what becomes of it.
    fn begin(&mut self, bytes: &mut Bytes) -> Result<Option<Next>, Fault> {
        let (kind, length) = loop {
            let seen = &self.head[..self.known];
            if let Some((kind, behind)) = number(seen)
                && let Some((length, _)) = number(&seen[behind..])
            {
                break (kind, length);
            }
            if bytes.is_empty() {
                return Ok(Some(Next::Wanting));
            }
            self.head[self.known] = bytes.get_u8();
            self.known += 1;
        };
        let head = std::mem::take(&mut self.known);
        match self.kind {
            Kind::Request => self.of_request(kind, length, head),
            Kind::Control => self.of_control(kind, length, head),
        }
    }

    fn of_request(&mut self, kind: u64, length: u64, head: usize) -> Result<Option<Next>, Fault> {
        match kind {
            DATA if self.sections == 0 => {
                Err(of_connection(Code::H3_FRAME_UNEXPECTED, "content before the head of a request"))
            }
            DATA if length == 0 => Ok(Some(Next::Nothing)),
            DATA => {
                self.state = State::Content(length);
                Ok(Some(Next::Pass(Bytes::copy_from_slice(&self.head[..head]))))
            }
            HEADERS if length > self.most.bytes => self.too_large(length).map(Some),
            HEADERS => self.gather(kind, length, head),
            CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID => {
                Err(of_connection(Code::H3_FRAME_UNEXPECTED, "a frame that a request does not have"))
            }
            _ => self.unknown(kind, length, self.most.bytes, false),
        }
    }

    fn of_control(&mut self, kind: u64, length: u64, head: usize) -> Result<Option<Next>, Fault> {
        match kind {
            SETTINGS if length <= LONGEST_OF_CONTROL => self.gather(kind, length, head),
            SETTINGS => Err(of_connection(Code::H3_EXCESSIVE_LOAD, "too many settings")),
            CANCEL_PUSH | GOAWAY | MAX_PUSH_ID if (1..=8).contains(&length) => self.gather(kind, length, head),
            CANCEL_PUSH | GOAWAY | MAX_PUSH_ID => Err(of_connection(Code::H3_FRAME_ERROR, "a frame of a wrong length")),
            DATA | HEADERS | PUSH_PROMISE => {
                Err(of_connection(Code::H3_FRAME_UNEXPECTED, "a frame that a control stream does not have"))
            }
            _ => self.unknown(kind, length, LONGEST_OF_CONTROL, true),
        }
    }

    /// RFC 9114 §9: what is not known is passed over. What is longer than anything that is known is no extension.
    fn unknown(&mut self, kind: u64, length: u64, most: u64, control: bool) -> Result<Option<Next>, Fault> {
        if OF_HTTP2.contains(&kind) {
            return Err(of_connection(Code::H3_FRAME_UNEXPECTED, "a frame of HTTP/2"));
        }
        if length > most {
            let why = "an unknown frame that is too long";
            return Err(Fault { code: Code::H3_EXCESSIVE_LOAD, of_connection: control, why });
        }
        self.state = State::Unwanted(length);
        Ok(Some(Next::Nothing))
    }

    fn gather(&mut self, kind: u64, length: u64, behind: usize) -> Result<Option<Next>, Fault> {
        // Bounded by who calls, and not believed: memory is taken for what comes.
        let left = usize::try_from(length).unwrap_or(usize::MAX);
        self.state = State::Whole { kind, behind, frame: self.head[..behind].to_vec(), left };
        Ok(None)
    }

    fn too_large(&mut self, length: u64) -> Result<Next, Fault> {
        if self.sections > 0 {
            return Err(Fault {
                code: Code::H3_EXCESSIVE_LOAD,
                of_connection: false,
                why: "trailers that are too large",
            });
        }
        self.sections = 1;
        self.state = State::Unwanted(length);
        Ok(Next::TooLarge(Bytes::from_static(STAND_IN)))
    }

    fn whole(&mut self, kind: u64, behind: usize, frame: Vec<u8>) -> Result<Next, Fault> {
        let payload = &frame[behind..];
        match kind {
            HEADERS => {
                let section = if self.sections == 0 { Section::Head } else { Section::Trailers };
                let found = fields::look(payload, section);
                if found.size > self.most.bytes || found.fields > self.most.fields {
                    return self.too_large(0);
                }
                self.sections = self.sections.saturating_add(1);
                let frame = Bytes::from(frame);
                Ok(if found.well_formed { Next::Pass(frame) } else { Next::Malformed(frame) })
            }
            SETTINGS => Ok(Next::Pass(frame.into())),
            // One number and nothing else: h3 would read on behind the number.
            _ if number(payload).is_some_and(|(_, read)| read == payload.len()) => Ok(Next::Idle(frame.into())),
            _ => Err(of_connection(Code::H3_FRAME_ERROR, "a frame of a wrong length")),
        }
    }
}

fn take(bytes: &mut Bytes, left: &mut u64) -> Bytes {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let piece = bytes.split_to(bytes.len().min(most));
    *left -= piece.len() as u64;
    piece
}

/// A number as QUIC writes it (RFC 9000 §16), and its length; `None` where it goes on.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let rest = bytes.get(1..length)?;
    Some((rest.iter().fold(u64::from(first & 0x3f), |number, byte| number << 8 | u64::from(*byte)), length))
}

#[cfg(test)]
mod tests;
