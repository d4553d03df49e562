//! Bulk: `memory.fill` and `memory.copy` in pieces, so that the clock can end them.
//!
//! A fill of the whole memory can take 50 ms where its pages are touched for the first time, and nothing stops the engine
//! in it. So the meter calls a helper in its place, which the rewrite appends to modules that have such instructions:
//!
//! ```text
//!   fill(to, byte, length)               copy(to, from, length)
//!     while length > 1 MiB, and all of it lies inside the memory:
//!       the first (copy upwards: the last) 1 MiB;  if reserve < 0, trap
//!     the instruction itself for the rest
//! ```
//!
//! Invariants
//! 1. The outcome is that of the one instruction: what is not inside the memory traps before anything is written, and
//!    ranges that overlap are copied as if by way of a buffer.
//! 2. A helper takes no fuel: the meter has charged the length before.

use wasm_encoder::{BlockType, Function, Instruction, ValType};

use Instruction as I;

/// Bytes of a piece.
const PIECE: i32 = 1 << 20;

/// Locals: the three parameters, the same for both.
const TO: u32 = 0;
const WITH: u32 = 1;
const LENGTH: u32 = 2;

/// The parameters of either helper.
pub(crate) const PARAMETERS: [ValType; 3] = [ValType::I32; 3];
/// How many helpers there are: fill, then copy.
pub(crate) const COUNT: u32 = 2;

const FILL: I<'_> = I::MemoryFill(0);
const COPY: I<'_> = I::MemoryCopy { src_mem: 0, dst_mem: 0 };

/// `memory.fill` in pieces.
pub(crate) fn fill(fuel_global: u32, reserve_global: u32) -> Function {
    let mut out = Function::new([]);
    emit(&mut out, &[I::Block(BlockType::Empty)]);
    leave_if_short(&mut out, 0);
    leave_if_outside(&mut out, TO, 0);
    emit(
        &mut out,
        &[I::Loop(BlockType::Empty), I::LocalGet(TO), I::LocalGet(WITH), I::I32Const(PIECE), FILL],
    );
    add(&mut out, TO, PIECE);
    add(&mut out, LENGTH, -PIECE);
    trap_if_ruined(&mut out, fuel_global, reserve_global);
    again_if_long(&mut out);
    emit(&mut out, &[I::End, I::End]);
    emit(&mut out, &[I::LocalGet(TO), I::LocalGet(WITH), I::LocalGet(LENGTH), FILL, I::End]);
    out
}

/// `memory.copy` in pieces.
pub(crate) fn copy(fuel_global: u32, reserve_global: u32) -> Function {
    let mut out = Function::new([]);
    emit(&mut out, &[I::Block(BlockType::Empty)]);
    leave_if_short(&mut out, 0);
    leave_if_outside(&mut out, TO, 0);
    leave_if_outside(&mut out, WITH, 0);
    emit(&mut out, &[I::LocalGet(TO), I::LocalGet(WITH), I::I32LeU, I::If(BlockType::Empty)]);
    // Downwards or in place: from the front.
    emit(
        &mut out,
        &[I::Loop(BlockType::Empty), I::LocalGet(TO), I::LocalGet(WITH), I::I32Const(PIECE), COPY],
    );
    add(&mut out, TO, PIECE);
    add(&mut out, WITH, PIECE);
    add(&mut out, LENGTH, -PIECE);
    trap_if_ruined(&mut out, fuel_global, reserve_global);
    again_if_long(&mut out);
    emit(&mut out, &[I::End, I::Else]);
    // Upwards: from the back.
    emit(&mut out, &[I::Loop(BlockType::Empty)]);
    add(&mut out, LENGTH, -PIECE);
    for start in [TO, WITH] {
        emit(&mut out, &[I::LocalGet(start), I::LocalGet(LENGTH), I::I32Add]);
    }
    emit(&mut out, &[I::I32Const(PIECE), COPY]);
    trap_if_ruined(&mut out, fuel_global, reserve_global);
    again_if_long(&mut out);
    emit(&mut out, &[I::End, I::End, I::End]);
    emit(&mut out, &[I::LocalGet(TO), I::LocalGet(WITH), I::LocalGet(LENGTH), COPY, I::End]);
    out
}

fn leave_if_short(out: &mut Function, label: u32) {
    emit(out, &[I::LocalGet(LENGTH), I::I32Const(PIECE), I::I32LeU, I::BrIf(label)]);
}

fn leave_if_outside(out: &mut Function, start: u32, label: u32) {
    emit(
        out,
        &[
            I::LocalGet(start),
            I::I64ExtendI32U,
            I::LocalGet(LENGTH),
            I::I64ExtendI32U,
            I::I64Add,
            I::MemorySize(0),
            I::I64ExtendI32U,
            I::I64Const(16),
            I::I64Shl,
            I::I64GtU,
            I::BrIf(label),
        ],
    );
}

fn again_if_long(out: &mut Function) {
    emit(out, &[I::LocalGet(LENGTH), I::I32Const(PIECE), I::I32GtU, I::BrIf(0)]);
}

/// The watchdog has been here: the fuel is gone, and this is how the host knows.
fn trap_if_ruined(out: &mut Function, fuel_global: u32, reserve_global: u32) {
    emit(
        out,
        &[
            I::GlobalGet(reserve_global),
            I::I64Const(0),
            I::I64LtS,
            I::If(BlockType::Empty),
            I::I64Const(-1),
            I::GlobalSet(fuel_global),
            I::Unreachable,
            I::End,
        ],
    );
}

fn add(out: &mut Function, local: u32, number: i32) {
    emit(out, &[I::LocalGet(local), I::I32Const(number), I::I32Add, I::LocalSet(local)]);
}

fn emit(out: &mut Function, instructions: &[I<'_>]) {
    for instruction in instructions {
        out.instruction(instruction);
    }
}
