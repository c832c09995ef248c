//! Makes bulk memory instructions interruptible, before a component is compiled.
//!
//! wasmtime looks at the epoch at the beginning of a function and at each turn of a loop, so one `memory.fill` or `memory.copy` over
//! 128 MiB would hold its core for tens of milliseconds. Each of them that may be long becomes a call of a function that is appended
//! to its module and does the same in pieces of [`PIECE`] bytes, in a loop. Types and functions are only ever appended, so no index
//! changes, and every byte that is not such an instruction is copied as it is.
//!
//! `memory.init` is left alone, because it copies no more than the component brings with it; so are the instructions on tables,
//! whose size the pool bounds (`engine.rs`).

use std::borrow::Cow;

use wasm_encoder::{BlockType, CodeSection, Component, Encode, Function, InstructionSink, Module, RawSection};
use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, FunctionBody, ImportSectionReader, Operator, TypeRef,
    TypeSectionReader,
};

/// Part of the key of compiled code: another number for every change of what is made here.
pub(super) const VERSION: u32 = 1;

/// What is filled or copied between two looks at the epoch: a tenth of a millisecond, or a quarter where the kernel must find the
/// pages first.
const PIECE: i32 = 1 << 20;

type Result<T> = std::result::Result<T, BinaryReaderError>;

/// The component with its bulk memory instructions made interruptible; the same bytes if it has none that may be long.
///
/// # Errors
/// When the bytes are no valid component.
pub fn interruptible(component: &[u8]) -> Result<Cow<'_, [u8]>> {
    Ok(rewritten(component)?.map_or(Cow::Borrowed(component), |rewritten| Cow::Owned(rewritten.finish())))
}

/// A section of a component: the other kinds are copied.
mod component {
    pub(super) const MODULE: u8 = 1;
    pub(super) const COMPONENT: u8 = 4;
}

/// A section of a module: the other kinds are copied.
mod module {
    pub(super) const CUSTOM: u8 = 0;
    pub(super) const TYPE: u8 = 1;
    pub(super) const IMPORT: u8 = 2;
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const CODE: u8 = 10;
}

/// `None` when nothing has to be rewritten.
fn rewritten(bytes: &[u8]) -> Result<Option<Component>> {
    let mut component = Component::new();
    let mut changed = false;
    for (id, data) in sections(bytes)? {
        let inner = match id {
            component::MODULE => rewritten_module(data)?.map(Module::finish),
            component::COMPONENT => rewritten(data)?.map(Component::finish),
            _ => None,
        };
        changed |= inner.is_some();
        component.section(&RawSection { id, data: inner.as_deref().unwrap_or(data) });
    }
    Ok(changed.then_some(component))
}

fn rewritten_module(bytes: &[u8]) -> Result<Option<Module>> {
    let sections = sections(bytes)?;
    let Some(appended) = Appended::plan(&sections)? else { return Ok(None) };
    let mut module = Module::new();
    for (id, data) in sections {
        let rewritten = match id {
            module::TYPE => one_more(data, 1, |sink| sink.extend(COPY_TYPE))?,
            module::FUNCTION => one_more(data, 2, |sink| [appended.kind; 2].iter().for_each(|kind| kind.encode(sink)))?,
            module::CODE => appended.code(data)?,
            // They hold offsets into the code, as hints for the compiler.
            module::CUSTOM if BinaryReader::new(data, 0).read_string()?.starts_with("metadata.code.") => continue,
            _ => data.to_vec(),
        };
        module.section(&RawSection { id, data: &rewritten });
    }
    Ok(Some(module))
}

/// What follows the header of a module or a component, one section after the other.
fn sections(bytes: &[u8]) -> Result<Vec<(u8, &[u8])>> {
    let mut reader = BinaryReader::new(bytes, 0);
    reader.read_bytes(b"\0asm".len() + 4)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()?;
        sections.push((id, reader.read_bytes(size as usize)?));
    }
    Ok(sections)
}

/// A section that is a list, with so many entries more.
fn one_more(list: &[u8], more: u32, append: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u8>> {
    let mut reader = BinaryReader::new(list, 0);
    let count = reader.read_var_u32()?;
    let mut longer = Vec::with_capacity(list.len() + 16);
    count.saturating_add(more).encode(&mut longer);
    longer.extend_from_slice(&list[reader.current_position()..]);
    append(&mut longer);
    Ok(longer)
}

/// `(func (param i32 i32 i32))`, as bytes of a type section.
const COPY_TYPE: [u8; 6] = [0x60, 3, 0x7f, 0x7f, 0x7f, 0];

/// The indices of what is appended to one module.
#[derive(Clone, Copy)]
struct Appended {
    kind: u32,
    fill: u32,
    copy: u32,
}

impl Appended {
    /// `None` for a module without an instruction that may be long.
    fn plan(sections: &[(u8, &[u8])]) -> Result<Option<Self>> {
        let (mut types, mut functions, mut long) = (0_usize, 0_u32, false);
        for (id, data) in sections {
            let reader = BinaryReader::new(data, 0);
            match *id {
                module::TYPE => {
                    for group in TypeSectionReader::new(reader)? {
                        types += group?.types().len();
                    }
                }
                module::IMPORT => {
                    for import in ImportSectionReader::new(reader)?.into_imports() {
                        functions += u32::from(matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
                    }
                }
                module::FUNCTION => functions = functions.saturating_add(reader.clone().read_var_u32()?),
                module::CODE => {
                    for body in CodeSectionReader::new(reader)? {
                        long = long || !long_instructions(&body?)?.is_empty();
                    }
                }
                _ => {}
            }
        }
        let kind = u32::try_from(types).unwrap_or(u32::MAX);
        Ok(long.then_some(Self { kind, fill: functions, copy: functions.saturating_add(1) }))
    }

    /// The code section, with calls in place of the long instructions and the functions that they call at its end.
    fn code(self, data: &[u8]) -> Result<Vec<u8>> {
        let mut code = CodeSection::new();
        for body in CodeSectionReader::new(BinaryReader::new(data, 0))? {
            let body = body?;
            let (bytes, start) = (body.as_bytes(), body.range().start);
            let mut rewritten = Vec::with_capacity(bytes.len() + 16);
            let mut copied = 0;
            for long in long_instructions(&body)? {
                rewritten.extend_from_slice(&bytes[copied..long.start - start]);
                InstructionSink::new(&mut rewritten).call(if long.fills { self.fill } else { self.copy });
                copied = long.end - start;
            }
            rewritten.extend_from_slice(&bytes[copied..]);
            code.raw(&rewritten);
        }
        code.function(&fill()).function(&copy());
        let mut section = Vec::new();
        code.encode(&mut section);
        // The encoding of a section begins with its size.
        let mut reader = BinaryReader::new(&section, 0);
        reader.read_var_u32()?;
        Ok(section.split_off(reader.current_position()))
    }
}

/// One `memory.fill` or `memory.copy` and where it stands.
struct Long {
    fills: bool,
    start: usize,
    end: usize,
}

/// Those whose length is not known to fit into one piece.
fn long_instructions(body: &FunctionBody<'_>) -> Result<Vec<Long>> {
    let mut reader = body.get_operators_reader()?;
    let mut found = Vec::new();
    // What the instruction before has put on the stack, if that is a constant.
    let mut constant = None;
    while !reader.eof() {
        let start = reader.original_position();
        let operator = reader.read()?;
        let short = constant.is_some_and(|length| (0..=PIECE).contains(&length));
        constant = None;
        match operator {
            Operator::I32Const { value } => constant = Some(value),
            Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } if !short => {
                let fills = matches!(operator, Operator::MemoryFill { .. });
                found.push(Long { fills, start, end: reader.original_position() });
            }
            _ => {}
        }
    }
    Ok(found)
}

const IN_BYTES: i64 = 16;
const DESTINATION: u32 = 0;
/// The value of a fill, the source of a copy.
const SOURCE: u32 = 1;
const LENGTH: u32 = 2;

/// `memory.fill` in pieces. What is left, or all of it where it does not fit the memory, is left to the instruction itself, which
/// traps before it has written anything.
fn fill() -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    is_long(&mut code);
    in_bounds(&mut code, DESTINATION);
    code.i32_and().if_(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(DESTINATION).local_get(SOURCE).i32_const(PIECE).memory_fill(0);
    code.local_get(DESTINATION).i32_const(PIECE).i32_add().local_set(DESTINATION);
    code.local_get(LENGTH).i32_const(PIECE).i32_sub().local_set(LENGTH);
    is_long(&mut code);
    code.br_if(0).end().end();
    code.local_get(DESTINATION).local_get(SOURCE).local_get(LENGTH).memory_fill(0).end();
    function
}

/// `memory.copy` in pieces: from the end where the destination lies behind the source, so that no piece overwrites what is still
/// to be copied.
fn copy() -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    is_long(&mut code);
    in_bounds(&mut code, DESTINATION);
    in_bounds(&mut code, SOURCE);
    code.i32_and().i32_and().if_(BlockType::Empty);
    code.local_get(DESTINATION).local_get(SOURCE).i32_gt_u().if_(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(LENGTH).i32_const(PIECE).i32_sub().local_set(LENGTH);
    code.local_get(DESTINATION).local_get(LENGTH).i32_add();
    code.local_get(SOURCE).local_get(LENGTH).i32_add();
    code.i32_const(PIECE).memory_copy(0, 0);
    is_long(&mut code);
    code.br_if(0).end().else_().loop_(BlockType::Empty);
    code.local_get(DESTINATION).local_get(SOURCE).i32_const(PIECE).memory_copy(0, 0);
    for place in [DESTINATION, SOURCE] {
        code.local_get(place).i32_const(PIECE).i32_add().local_set(place);
    }
    code.local_get(LENGTH).i32_const(PIECE).i32_sub().local_set(LENGTH);
    is_long(&mut code);
    code.br_if(0).end().end().end();
    code.local_get(DESTINATION).local_get(SOURCE).local_get(LENGTH).memory_copy(0, 0).end();
    function
}

/// Whether the length is more than a piece.
fn is_long(code: &mut InstructionSink<'_>) {
    code.local_get(LENGTH).i32_const(PIECE).i32_gt_u();
}

/// Whether so many bytes from here lie in the memory; in 64 bits, because a memory of 4 GiB has a size that 32 do not hold.
fn in_bounds(code: &mut InstructionSink<'_>, place: u32) {
    code.local_get(place).i64_extend_i32_u().local_get(LENGTH).i64_extend_i32_u().i64_add();
    code.memory_size(0).i64_extend_i32_u().i64_const(IN_BYTES).i64_shl().i64_le_u();
}

#[cfg(test)]
mod tests;
