use super::*;

const MOST: Most = Most { bytes: 1000, fields: 20 };
/// A head that the look at its fields is content with.
const FIELDS: &[u8] = b"\x00\x00\xd1\xd7\xc1\x50\x01x";

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    declared(kind, payload.len() as u64, payload)
}

fn declared(kind: u64, length: u64, payload: &[u8]) -> Vec<u8> {
    let number = |number: u64| (number | 0b11 << 62).to_be_bytes();
    [&number(kind)[..], &number(length), payload].concat()
}

/// What is passed on of bytes that come in pieces of this size.
fn passed(kind: Kind, bytes: &[u8], size: usize) -> Result<Vec<u8>, Fault> {
    let mut frames = Frames::of(kind, MOST);
    let mut passed = Vec::new();
    for piece in bytes.chunks(size) {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match frames.next(&mut piece)? {
                Next::Pass(more) | Next::Idle(more) | Next::TooLarge(more) | Next::Malformed(more) => {
                    passed.extend_from_slice(&more)
                }
                Next::Nothing => {}
                Next::Wanting => break,
            }
        }
    }
    frames.end().map(|()| passed)
}

#[test]
fn a_request_is_passed_on_without_what_is_empty_or_unknown_in_pieces_of_any_size() {
    let (head, content) = (frame(HEADERS, FIELDS), frame(DATA, b"content"));
    let all = [head.clone(), frame(0x21, b"grease"), frame(DATA, b""), content.clone(), frame(0x41, b"")].concat();
    for size in [1, 2, 7, 8, 16, 17, all.len()] {
        assert_eq!(passed(Kind::Request, &all, size).unwrap(), [head.clone(), content.clone()].concat(), "{size}");
    }
}

#[test]
fn content_ends_a_piece_where_its_frame_ends() {
    let mut bytes = Bytes::from([frame(HEADERS, FIELDS), frame(DATA, b"one"), frame(DATA, b"two")].concat());
    let mut frames = Frames::of(Kind::Request, MOST);
    let mut next = || match frames.next(&mut bytes).unwrap() {
        Next::Pass(piece) => piece.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!([next(), next(), next(), next(), next()], [16 + FIELDS.len(), 16, 3, 16, 3]);
}

#[test]
fn an_end_within_a_frame_is_an_error_of_the_connection() {
    let whole = [frame(HEADERS, FIELDS), frame(DATA, b"content")].concat();
    let ends = [0, 16 + FIELDS.len(), whole.len()];
    for end in 0..whole.len() {
        let result = passed(Kind::Request, &whole[..end], 5);
        match ends.contains(&end) {
            true => drop(result.unwrap()),
            false => assert_eq!(result.unwrap_err().code, Code::H3_FRAME_ERROR, "{end}"),
        }
    }
}

#[test]
fn a_head_without_end_is_told_by_the_length_that_it_declares_and_something_small_stands_in_for_it() {
    let mut frames = Frames::of(Kind::Request, MOST);
    let mut bytes = Bytes::from(declared(HEADERS, 1 << 60, &[0; 100]));
    assert_eq!(frames.next(&mut bytes).unwrap(), Next::TooLarge(Bytes::from_static(STAND_IN)));
    assert_eq!(frames.next(&mut bytes).unwrap(), Next::Wanting);
    assert!(bytes.is_empty(), "what comes of it is forgotten");
    // A head that is small until it is unpacked, and one of many fields.
    for fields in
        [[b"\x00\x00".to_vec(), vec![0xd1; 100]].concat(), [b"\x00\x00".to_vec(), b"\x20\x00".repeat(21)].concat()]
    {
        let mut bytes = Bytes::from(frame(HEADERS, &fields));
        let next = Frames::of(Kind::Request, MOST).next(&mut bytes).unwrap();
        assert!(matches!(next, Next::TooLarge(_)), "{next:?}");
    }
}

#[test]
fn trailers_and_unknown_frames_without_end_end_their_stream() {
    let head = frame(HEADERS, FIELDS);
    for more in [declared(HEADERS, 1001, b""), declared(0x21, 1001, b"")] {
        let fault = passed(Kind::Request, &[head.clone(), more].concat(), 9).unwrap_err();
        assert_eq!((fault.code, fault.of_connection), (Code::H3_EXCESSIVE_LOAD, false));
    }
    let fault = passed(Kind::Control, &declared(0x21, 5000, b""), 9).unwrap_err();
    assert_eq!((fault.code, fault.of_connection), (Code::H3_EXCESSIVE_LOAD, true));
}

#[test]
fn frames_where_they_do_not_belong_end_the_connection() {
    let head = frame(HEADERS, FIELDS);
    for kind in [0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0x9, 0xd] {
        let fault = passed(Kind::Request, &[head.clone(), frame(kind, b"\0")].concat(), 9).unwrap_err();
        assert_eq!((fault.code, fault.of_connection), (Code::H3_FRAME_UNEXPECTED, true), "{kind}");
    }
    for kind in [0x0, 0x1, 0x2, 0x5, 0x6, 0x8, 0x9] {
        let fault = passed(Kind::Control, &frame(kind, b"\0"), 9).unwrap_err();
        assert_eq!((fault.code, fault.of_connection), (Code::H3_FRAME_UNEXPECTED, true), "{kind}");
    }
    assert_eq!(passed(Kind::Request, &frame(DATA, b"x"), 9).unwrap_err().code, Code::H3_FRAME_UNEXPECTED);
}

#[test]
fn a_control_stream_has_numbers_of_the_right_length() {
    let settings = frame(SETTINGS, b"\x06\x10");
    let good = [settings.clone(), frame(GOAWAY, b"\0"), frame(MAX_PUSH_ID, b"\x40\x01")].concat();
    assert_eq!(passed(Kind::Control, &good, 3).unwrap(), good);
    assert_eq!(passed(Kind::Control, &frame(SETTINGS, b""), 3).unwrap(), frame(SETTINGS, b""));
    for bad in [frame(GOAWAY, b""), frame(GOAWAY, b"\0\0"), frame(CANCEL_PUSH, b"\x40"), declared(GOAWAY, 9, b"")] {
        assert_eq!(passed(Kind::Control, &[settings.clone(), bad].concat(), 3).unwrap_err().code, Code::H3_FRAME_ERROR);
    }
}

#[test]
fn what_breaks_a_rule_of_pseudo_header_fields_is_marked() {
    let twice = [FIELDS, b"\xc1"].concat();
    let next = Frames::of(Kind::Request, MOST).next(&mut Bytes::from(frame(HEADERS, &twice))).unwrap();
    assert!(matches!(next, Next::Malformed(_)), "{next:?}");
}
