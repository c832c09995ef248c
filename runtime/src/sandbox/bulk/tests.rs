//! The rewritten instructions do what the original ones do.

use wasmtime::{Engine, Instance, Memory, Module, Store, Trap, TypedFunc};

use super::*;

/// A bit more than four pieces.
const PAGES: u32 = 16 * 4 + 3;
const SIZE: usize = PAGES as usize * 65536;

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn subject() -> Vec<u8> {
    module(&format!(
        "(module
            (type $unused (func))
            (import \"host\" \"log\" (func $log (param i32)))
            (memory (export \"memory\") {PAGES})
            (func (export \"fill\") (param i32 i32 i32)
                (block (block (memory.fill (local.get 0) (local.get 1) (local.get 2)) (br 1)))
                (call $log (i32.const 1)))
            (func (export \"copy\") (param i32 i32 i32)
                (memory.copy (local.get 0) (local.get 1) (local.get 2))
                (memory.copy (i32.const 0) (i32.const 0) (i32.const 8)))
            (func (export \"both\") (param i32) (result i32)
                (memory.fill (i32.const 0) (local.get 0) (i32.const 4300000))
                (if (result i32) (local.get 0) (then (i32.load8_u (i32.const 4000000))) (else (i32.const -1)))))"
    ))
}

/// A running module: the original or the rewritten one.
struct Side {
    store: Store<u32>,
    memory: Memory,
    fill: TypedFunc<(u32, u32, u32), ()>,
    copy: TypedFunc<(u32, u32, u32), ()>,
    both: TypedFunc<u32, i32>,
}

impl Side {
    fn new(bytes: &[u8]) -> Self {
        let engine = Engine::default();
        let module = Module::new(&engine, bytes).unwrap();
        let mut store = Store::new(&engine, 0);
        let log = wasmtime::Func::wrap(&mut store, |mut caller: wasmtime::Caller<'_, u32>, more: u32| {
            *caller.data_mut() += more;
        });
        let instance = Instance::new(&mut store, &module, &[log.into()]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let fill = instance.get_typed_func(&mut store, "fill").unwrap();
        let copy = instance.get_typed_func(&mut store, "copy").unwrap();
        let both = instance.get_typed_func(&mut store, "both").unwrap();
        let mut side = Self { store, memory, fill, copy, both };
        for (place, byte) in side.memory.data_mut(&mut side.store).iter_mut().enumerate() {
            *byte = (place * 31 + place / 251) as u8;
        }
        side
    }

    fn run(&mut self, fills: bool, arguments: (u32, u32, u32)) -> Option<Trap> {
        let function = if fills { &self.fill } else { &self.copy };
        function.call(&mut self.store, arguments).err().map(|error| *error.downcast_ref::<Trap>().unwrap())
    }
}

/// Deterministic, and good enough: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    /// An edge of the memory or of a piece, give or take one, or anything.
    fn place(&mut self) -> u32 {
        let edge =
            [0, PIECE as u32, 2 * PIECE as u32, 3 * PIECE as u32, SIZE as u32, u32::MAX][self.next() as usize % 6];
        match self.next() % 4 {
            0 => edge,
            1 => edge.wrapping_add(1),
            2 => edge.wrapping_sub(1),
            _ => self.next() % (SIZE as u32 + 1000),
        }
    }
}

#[test]
fn fills_and_copies_in_pieces_do_what_the_instructions_do() {
    let original = subject();
    let rewritten = rewritten_module(&original).unwrap().unwrap().finish();
    let (mut one, mut other) = (Side::new(&original), Side::new(&rewritten));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut trapped = 0;
    for round in 0..600 {
        let arguments = (random.place(), random.place(), random.place());
        let fills = round % 3 == 0;
        let (expected, found) = (one.run(fills, arguments), other.run(fills, arguments));
        assert_eq!(expected, found, "{fills} {arguments:?}");
        trapped += u32::from(expected.is_some());
        let same = one.memory.data(&one.store) == other.memory.data(&other.store);
        assert!(same, "round {round}: {fills} {arguments:?}");
    }
    assert!((100..500).contains(&trapped), "{trapped} of 600 are out of bounds");
    assert_eq!(one.store.data(), other.store.data(), "branches lead where they led");
    assert_eq!(one.both.call(&mut one.store, 7).unwrap(), other.both.call(&mut other.store, 7).unwrap());
}

#[test]
fn overlapping_copies_longer_than_a_piece_keep_what_is_still_to_be_copied() {
    let original = subject();
    let rewritten = rewritten_module(&original).unwrap().unwrap().finish();
    let (mut one, mut other) = (Side::new(&original), Side::new(&rewritten));
    let (piece, length) = (PIECE as u32, 3 * PIECE as u32 + 77);
    for (to, from) in [(0, 1), (1, 0), (0, piece), (piece, 0), (5, 5), (piece - 1, 0), (0, piece + 1)] {
        assert_eq!(one.run(false, (to, from, length)), None);
        assert_eq!(other.run(false, (to, from, length)), None);
        assert!(one.memory.data(&one.store) == other.memory.data(&other.store), "from {from} to {to}");
    }
}

#[test]
fn a_module_whose_instructions_are_known_to_be_short_stays_as_it_is() {
    let short = "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1048576))))";
    assert!(rewritten_module(&module(short)).unwrap().is_none());
    for long in ["i32.const 1048577", "i32.const -1", "i32.add (i32.const 1) (i32.const 1)"] {
        let text = format!("(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) ({long}))))");
        assert!(rewritten_module(&module(&text)).unwrap().is_some(), "{long}");
    }
    let none = wat::parse_str("(component (core module) (component (core module)))").unwrap();
    assert!(matches!(interruptible(&none).unwrap(), Cow::Borrowed(_)));
}

#[test]
fn modules_in_nested_components_are_rewritten_and_the_rest_is_copied() {
    let text = "(component (component $inner
            (core module $m (memory 1) (func (export \"f\") (param i32)
                (memory.fill (i32.const 0) (i32.const 0) (local.get 0)))
                (@custom \"metadata.code.branch_hint\" \"\\00\") (@custom \"kept\" \"\\01\")))
        (@custom \"outer\" \"\\02\"))";
    let original = wat::parse_str(text).unwrap();
    let rewritten = interruptible(&original).unwrap();
    assert!(rewritten.len() > original.len());
    wasmparser::Validator::new().validate_all(&rewritten).unwrap();
    let has = |text: &[u8]| rewritten.windows(text.len()).any(|window| window == text);
    assert!(has(b"kept") && has(b"outer") && !has(b"branch_hint"));
    assert!(interruptible(&rewritten[..40]).is_err(), "cut off");
}
