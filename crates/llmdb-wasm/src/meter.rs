//! Meter: fuel in a local, charged once for each straight run of instructions.
//!
//! A body becomes
//!
//! ```text
//!   block $return (results)
//!     ... the body, `return` now a branch to $return ...
//!   end
//!   fuel global = fuel local
//! ```
//!
//! The fuel of a call is the sum of two globals. The local holds a slice of it; the rest stays in the reserve, where
//! another thread can take it away. A test that finds the local below zero takes the next slice:
//!
//! ```text
//!   local = fuel global = local + reserve,  reserve = 0        all that is left
//!   1 / (local > -1)                                           traps where nothing is: the host sees a sum below zero
//!   reserve = local without its low bits,  local = fuel global = its low bits
//! ```
//!
//! The division is there for what it is to the compiler: a trap without a branch. Branches are what compilation takes
//! its time for.
//!
//! The cost of a run is taken from the local where it begins, or earlier where it is certain to come (`runs`). At the entry
//! of a function, at the head of a loop and after a call the result is tested.
//!
//! Invariants
//! 1. When a call ends without a trap, the fuel gone is exactly the number of instructions executed, plus the
//!    surcharges below. `loop` counts when entered, `end` and `else` when control falls through them.
//! 2. The sum of the globals is the true fuel before every call, at every end, before every `unreachable` and where
//!    a test traps.
//! 3. An instruction whose work grows with an operand is tested before it works; `memory.grow` and
//!    `table.grow` are charged afterwards, for what they did: the caps bound them.
//! 4. Once the fuel is below zero nothing runs but forward branches of one function, whose size is capped: no
//!    loop turns, no callee passes its entry, no caller goes on.
//! 5. A reserve far below zero ends the call after at most a slice and one straight run.
//!
//! Surcharges: 16 for an instruction that is a call into the engine (bulk memory and table instructions, both
//! `grow`s, both `drop`s); then 1 for each 16 bytes of `memory.fill`, `copy` and `init`, 1 for each element of
//! `table.fill`, `copy`, `init` and `grow`, 4,096 for each page that memory grew by (as if zeroed by a fill).

use wasm_encoder::reencode::{Error as ReencodeError, Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, Function, Instruction, ValType};
use wasmparser::{FunctionBody, Operator};

use crate::rewrite::{Frame, RewriteError};
use crate::runs::{ends_run, payments};

/// Fuel that a guest takes from the reserve at once, a power of two. It bounds how late an interrupt comes: 20 us in
/// a tight loop, some ms where each instruction waits for memory.
pub(crate) const SLICE: i64 = 1 << 16;
const _: () = assert!(SLICE.count_ones() == 1);

/// Added to the cost of an instruction that calls into the engine.
pub(crate) const ENGINE_CALL_FUEL: i64 = 16;
/// Fuel for bulk memory instructions: the length shifted right by this, one for 16 bytes.
const BYTES_PER_FUEL_SHIFT: i64 = 4;
/// Fuel for a page of growth: the pages shifted left by this, 65,536 / 16.
const FUEL_PER_PAGE_SHIFT: i64 = 12;

/// Writes `body` anew, metered.
pub(crate) fn metered(frame: &Frame, body: &FunctionBody<'_>) -> Result<Function, RewriteError> {
    let mut locals = Vec::new();
    let mut local_count = frame.parameter_count;
    for group in body.get_locals_reader()? {
        let (count, ty) = group?;
        local_count += count;
        locals.push((count, RoundtripReencoder.val_type(ty)?));
    }
    locals.push((1, ValType::I64));
    locals.push((2, ValType::I32));
    let mut meter = Meter {
        out: Function::new(locals),
        frame,
        fuel: local_count,
        length: local_count + 1,
        outcome: local_count + 2,
        depth: 0,
        entry: Entry::Function,
        run: Vec::new(),
        payments: payments(body, cost)?.into_iter(),
    };
    meter.out.instruction(&Instruction::Block(frame.results));
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let operator = operators.read()?;
        let ends = ends_run(&operator);
        meter.run.push(operator);
        if ends {
            meter.write_run()?;
        }
    }
    Ok(meter.out)
}

/// How control comes to a run.
#[derive(Clone, Copy)]
enum Entry {
    /// From the caller: the fuel is in the global; test.
    Function,
    /// Round a loop: test.
    Loop,
    /// From a callee, which left the fuel in the global: test.
    Call,
    /// Any other way.
    Plain,
}

struct Meter<'a> {
    out: Function,
    frame: &'a Frame,
    /// The fuel local.
    fuel: u32,
    /// Local for the length operand of a bulk instruction.
    length: u32,
    /// Local for what `grow` answered.
    outcome: u32,
    /// Open blocks of the original, so also the label of `$return`.
    depth: u32,
    entry: Entry,
    run: Vec<Operator<'a>>,
    /// What is to be paid for the runs to come.
    payments: std::vec::IntoIter<i64>,
}

impl Meter<'_> {
    fn write_run(&mut self) -> Result<(), RewriteError> {
        // There is one for each run; where the two readings of a body differed, refusing it is better than fuel for nothing.
        let payment = self.payments.next().ok_or(ReencodeError::InvalidCodeSectionSize)?;
        self.charge_run(payment);
        self.entry = match self.run.last() {
            Some(Operator::Loop { .. }) => Entry::Loop,
            Some(Operator::Call { .. } | Operator::CallIndirect { .. }) => Entry::Call,
            _ => Entry::Plain,
        };
        for operator in std::mem::take(&mut self.run) {
            self.write(operator)?;
        }
        Ok(())
    }

    fn charge_run(&mut self, fuel: i64) {
        if fuel == 0 && matches!(self.entry, Entry::Plain) {
            return;
        }
        let from = match self.entry {
            Entry::Function | Entry::Call => Instruction::GlobalGet(self.frame.fuel_global),
            Entry::Loop | Entry::Plain => Instruction::LocalGet(self.fuel),
        };
        self.emit(&[from, Instruction::I64Const(fuel)]);
        match self.entry {
            Entry::Function | Entry::Loop | Entry::Call => self.take_and_test(),
            Entry::Plain => self.emit(&[Instruction::I64Sub, Instruction::LocalSet(self.fuel)]),
        }
    }

    /// With fuel and a price on the stack: pays, takes a new slice if that was too much, and traps when there is
    /// none.
    fn take_and_test(&mut self) {
        let (fuel, reserve) = (self.fuel, self.frame.reserve_global());
        self.emit(&[
            Instruction::I64Sub,
            Instruction::LocalSet(fuel),
            Instruction::Loop(BlockType::Empty),
            Instruction::LocalGet(fuel),
            Instruction::I64Const(0),
            Instruction::I64LtS,
            Instruction::If(BlockType::Empty),
            Instruction::LocalGet(fuel),
            Instruction::GlobalGet(reserve),
            Instruction::I64Add,
            Instruction::LocalTee(fuel),
            Instruction::GlobalSet(self.frame.fuel_global),
            Instruction::I64Const(0),
            Instruction::GlobalSet(reserve),
            Instruction::I32Const(1),
            Instruction::LocalGet(fuel),
            Instruction::I64Const(-1),
            Instruction::I64GtS,
            Instruction::I32DivU,
            Instruction::Drop,
            Instruction::LocalGet(fuel),
            Instruction::I64Const(!(SLICE - 1)),
            Instruction::I64And,
            Instruction::GlobalSet(reserve),
            Instruction::LocalGet(fuel),
            Instruction::I64Const(SLICE - 1),
            Instruction::I64And,
            Instruction::LocalTee(fuel),
            Instruction::GlobalSet(self.frame.fuel_global),
            // To the test once more, instead of on from here: so the compiler puts all this out of the way, and a turn
            // that has fuel jumps over nothing.
            Instruction::Br(1),
            Instruction::End,
            Instruction::End,
        ]);
    }

    fn write(&mut self, operator: Operator<'_>) -> Result<(), RewriteError> {
        use Operator as Op;
        match &operator {
            Op::Block { .. } | Op::Loop { .. } | Op::If { .. } => self.depth += 1,
            Op::End if self.depth == 0 => {
                self.write_ending();
                return Ok(());
            }
            Op::End => self.depth -= 1,
            Op::Return => {
                self.emit(&[Instruction::Br(self.depth)]);
                return Ok(());
            }
            Op::Call { .. } | Op::CallIndirect { .. } | Op::Unreachable => self.save(),
            Op::MemoryFill { .. } => return self.write_bulk(operator, 0),
            Op::MemoryCopy { .. } => return self.write_bulk(operator, 1),
            Op::MemoryInit { .. } => self.charge_length(Some(BYTES_PER_FUEL_SHIFT)),
            Op::TableFill { .. } | Op::TableCopy { .. } | Op::TableInit { .. } => self.charge_length(None),
            Op::MemoryGrow { .. } => return self.write_grow(operator, FUEL_PER_PAGE_SHIFT),
            Op::TableGrow { .. } => return self.write_grow(operator, 0),
            _ => {}
        }
        self.out.instruction(&RoundtripReencoder.instruction(operator)?);
        Ok(())
    }

    fn save(&mut self) {
        self.emit(&[Instruction::LocalGet(self.fuel), Instruction::GlobalSet(self.frame.fuel_global)]);
    }

    fn write_ending(&mut self) {
        self.emit(&[Instruction::End]);
        self.save();
        self.emit(&[Instruction::End]);
    }

    /// The length is on top of the stack, and stays there.
    fn charge_length(&mut self, shift: Option<i64>) {
        self.emit(&[
            Instruction::LocalTee(self.length),
            Instruction::LocalGet(self.fuel),
            Instruction::LocalGet(self.length),
            Instruction::I64ExtendI32U,
        ]);
        if let Some(shift) = shift {
            self.emit(&[Instruction::I64Const(shift), Instruction::I64ShrU]);
        }
        self.take_and_test();
    }

    /// Calls the helper in the instruction's place. It leaves the fuel alone, so the local stays true.
    fn write_bulk(&mut self, operator: Operator<'_>, helper: u32) -> Result<(), RewriteError> {
        self.charge_length(Some(BYTES_PER_FUEL_SHIFT));
        match self.frame.bulk {
            Some(first) => {
                self.save();
                self.emit(&[Instruction::Call(first + helper)]);
            }
            None => {
                self.out.instruction(&RoundtripReencoder.instruction(operator)?);
            }
        }
        Ok(())
    }

    fn write_grow(&mut self, operator: Operator<'_>, shift: i64) -> Result<(), RewriteError> {
        self.emit(&[Instruction::LocalTee(self.length)]);
        self.out.instruction(&RoundtripReencoder.instruction(operator)?);
        self.emit(&[
            Instruction::LocalTee(self.outcome),
            Instruction::LocalGet(self.fuel),
            Instruction::LocalGet(self.length),
            Instruction::I64ExtendI32U,
            Instruction::I64Const(shift),
            Instruction::I64Shl,
            Instruction::I64Const(0),
            Instruction::LocalGet(self.outcome),
            Instruction::I32Const(-1),
            Instruction::I32Ne,
            Instruction::Select,
            Instruction::I64Sub,
            Instruction::LocalSet(self.fuel),
        ]);
        Ok(())
    }

    fn emit(&mut self, instructions: &[Instruction<'_>]) {
        for instruction in instructions {
            self.out.instruction(instruction);
        }
    }
}

fn cost(operator: &Operator<'_>) -> i64 {
    use Operator as Op;
    let calls_engine = matches!(
        operator,
        Op::MemoryFill { .. }
            | Op::MemoryCopy { .. }
            | Op::MemoryInit { .. }
            | Op::MemoryGrow { .. }
            | Op::DataDrop { .. }
            | Op::TableFill { .. }
            | Op::TableCopy { .. }
            | Op::TableInit { .. }
            | Op::TableGrow { .. }
            | Op::ElemDrop { .. }
    );
    1 + if calls_engine { ENGINE_CALL_FUEL } else { 0 }
}
