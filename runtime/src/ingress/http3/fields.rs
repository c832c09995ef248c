//! What h3 does not look at in a field section: which pseudo-header fields there are, in which order, and how large it all becomes.
//!
//! h3 keeps the last of several pseudo-header fields of one name, takes them wherever they stand, also in trailers, and unpacks what
//! fills its memory before it knows so. Decoding is left to it; here each field line is passed over, and its name looked at (RFC 9204
//! §4.5). Our table of dynamic fields has no room, so every name is in the static one or is written out.

/// Where the fields stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// At the beginning of a request.
    Head,
    /// Behind the content.
    Trailers,
}

/// What was seen of a section.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What it has decoded, with 32 bytes for each field (RFC 9114 §4.2.2); never less than that.
    pub(super) size: u64,
    pub(super) fields: u64,
    /// Whether its pseudo-header fields are those of a request, each once, and before all others (RFC 9114 §4.3). What cannot be read
    /// at all counts as well formed: h3 knows how to say so.
    pub(super) well_formed: bool,
}

/// The longest name and value of the static table have 75 bytes (RFC 9204, Appendix A).
const LONGEST_KNOWN: u64 = 80;
/// What each field is taken for besides its name and value.
const OF_EACH: u64 = 32;

/// A name, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    /// A bit for each of those that a request has.
    Pseudo(u8),
    Forbidden,
    Other,
}

/// The pseudo-header fields of a request, plain and in the code of Huffman (RFC 7541, Appendix B).
const PSEUDO: [(u8, &[u8], &[u8]); 4] = [
    (1, b":method", b"\xb9\x49\x53\x39\xe4"),
    (2, b":scheme", b"\xb8\x82\x4e\x5a\x4b"),
    (4, b":authority", b"\xb8\x3b\x53\x39\xec\x32\x7d\x7f"),
    (8, b":path", b"\xb9\x58\xd3\x3f"),
];

/// Looks at an encoded section.
pub(super) fn look(mut encoded: &[u8], section: Section) -> Found {
    let mut found = Found { size: 0, fields: 0, well_formed: true };
    // The Required Insert Count and the Base.
    if integer(&mut encoded, 8).is_none() || integer(&mut encoded, 7).is_none() {
        return found;
    }
    let (mut seen, mut others) = (0_u8, false);
    while !encoded.is_empty() {
        let Some((name, size)) = line(&mut encoded) else { return found };
        found.fields += 1;
        found.size = found.size.saturating_add(size).saturating_add(OF_EACH);
        let fits = match name {
            Name::Pseudo(bit) => section == Section::Head && !others && seen & bit == 0,
            Name::Forbidden => false,
            Name::Other => true,
        };
        found.well_formed &= fits;
        match name {
            Name::Pseudo(bit) => seen |= bit,
            Name::Forbidden => {}
            Name::Other => others = true,
        }
    }
    found
}

/// One field line: its name, and what name and value have at most.
fn line(encoded: &mut &[u8]) -> Option<(Name, u64)> {
    let first = *encoded.first()?;
    // What refers to a dynamic table is for h3 to refuse.
    match first {
        0b1100_0000.. => Some((known(integer(encoded, 6)?), LONGEST_KNOWN)),
        0b0101_0000..=0b0101_1111 | 0b0111_0000..=0b0111_1111 => {
            let name = known(integer(encoded, 4)?);
            let (_, _, size) = string(encoded, 7)?;
            Some((name, LONGEST_KNOWN.saturating_add(size)))
        }
        0b0010_0000..=0b0011_1111 => {
            let (name, is_packed, size) = string(encoded, 3)?;
            let (_, _, more) = string(encoded, 7)?;
            Some((written(name, is_packed), size.saturating_add(more)))
        }
        _ => None,
    }
}

/// A name of the static table.
fn known(index: u64) -> Name {
    match index {
        0 => Name::Pseudo(4),
        1 => Name::Pseudo(8),
        15..=21 => Name::Pseudo(1),
        22 | 23 => Name::Pseudo(2),
        // `:status`
        24..=28 | 63..=71 => Name::Forbidden,
        _ => Name::Other,
    }
}

fn written(name: &[u8], is_packed: bool) -> Name {
    let own =
        |(bit, plain, packed): &(u8, &[u8], &[u8])| (name == if is_packed { *packed } else { *plain }).then_some(*bit);
    if let Some(bit) = PSEUDO.iter().find_map(own) {
        return Name::Pseudo(bit);
    }
    // The code of a colon is 1011100.
    let is_pseudo = name.first().is_some_and(|first| if is_packed { first >> 1 == 0b101_1100 } else { *first == b':' });
    if is_pseudo { Name::Forbidden } else { Name::Other }
}

/// A string whose length has so many bits in the first byte: its bytes, whether they are in the code of Huffman, and how many they
/// become at most, the shortest code having five bits.
fn string<'a>(encoded: &mut &'a [u8], bits: u32) -> Option<(&'a [u8], bool, u64)> {
    let is_packed = *encoded.first()? >> bits & 1 == 1;
    let length = usize::try_from(integer(encoded, bits)?).ok()?;
    let (string, rest) = encoded.split_at_checked(length)?;
    *encoded = rest;
    let length = length as u64;
    Some((string, is_packed, if is_packed { length.saturating_mul(8) / 5 } else { length }))
}

/// An integer with so many bits in the first byte (RFC 7541 §5.1).
fn integer(encoded: &mut &[u8], bits: u32) -> Option<u64> {
    let (first, mut rest) = encoded.split_first()?;
    let mask = u8::MAX >> (8 - bits);
    let mut value = u64::from(first & mask);
    if value == u64::from(mask) {
        for shift in (0..63).step_by(7) {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            value = value.checked_add(u64::from(byte & 0x7f) << shift)?;
            if byte & 0x80 == 0 {
                *encoded = rest;
                return Some(value);
            }
        }
        return None;
    }
    *encoded = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `:method GET`, `:scheme https`, `:path /`, `:authority x`.
    const REQUEST: &[u8] = b"\x00\x00\xd1\xd7\xc1\x50\x01x";

    fn head(encoded: &[u8]) -> Found {
        look(encoded, Section::Head)
    }

    fn plain(name: &str, value: &str) -> Vec<u8> {
        assert!(name.len() < 7 && value.len() < 127);
        [&[0x20 | name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    }

    #[test]
    fn a_request_is_well_formed() {
        let found = head(REQUEST);
        assert!(found.well_formed);
        assert_eq!(found.fields, 4);
        let with_more = [REQUEST, &plain("a", "b"), &plain("c", "d")].concat();
        assert!(head(&with_more).well_formed);
        assert!(look(&[b"\x00\x00".as_slice(), &plain("a", "b")].concat(), Section::Trailers).well_formed);
    }

    #[test]
    fn a_pseudo_header_field_that_comes_twice_or_late_or_is_none_of_a_request_is_seen_in_each_spelling() {
        let packed = |name: &[u8]| [&[0x28 | name.len() as u8][..], name, b"\x01x"].concat();
        for bad in [
            b"\xc1".to_vec(),
            b"\x51\x02/a".to_vec(),
            plain(":path", "/a"),
            packed(PSEUDO[3].2),
            packed(PSEUDO[0].2),
            plain(":x", ""),
            b"\xd9".to_vec(),
            b"\xff\x00".to_vec(),
        ] {
            assert!(!head(&[REQUEST, &bad].concat()).well_formed, "{bad:02x?}");
        }
        let late = [b"\x00\x00\xd1\xd7\xc1".as_slice(), &plain("a", "b"), b"\x50\x01x"].concat();
        assert!(!head(&late).well_formed);
        assert!(!look(b"\x00\x00\xc1", Section::Trailers).well_formed);
    }

    #[test]
    fn a_few_bytes_that_stand_for_many_are_counted_as_many() {
        let many = [b"\x00\x00".to_vec(), vec![0xff_u8, 0x01]].concat();
        assert_eq!(head(&many).size, LONGEST_KNOWN + OF_EACH);
        let crowd = [b"\x00\x00".to_vec(), vec![0xd1; 1000]].concat();
        assert_eq!(head(&crowd), Found { size: 112_000, fields: 1000, well_formed: false });
    }

    #[test]
    fn what_cannot_be_read_ends_the_look() {
        for bad in [
            &b""[..],
            b"\x00",
            b"\x00\x00\x27",
            b"\x00\x00\x50\x05x",
            b"\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(head(bad).well_formed, "{bad:02x?}");
        }
    }
}
