//! Runs: the straight runs of a function's instructions, and where the cost of each is paid.
//!
//! A run ends with the first instruction that may go elsewhere: a branch, a call, `loop`, `if`, `else`, `end`, `return`,
//! `unreachable`. Its cost is due where it begins. What follows a block, an `if` or a loop that nothing leaves but
//! through its end is certain to be executed once the block is entered, so its cost is paid there, together:
//!
//! ```text
//!   a  if  b  end  c            paid: a + c, then b where it is executed
//!   a  loop  b  br_if 0  end  c       a + c, then b each time round
//! ```
//!
//! Invariants
//! 1. Along every way through a function that ends without a trap, the sum of what was paid is the sum of the costs.
//! 2. At a call and at `unreachable` nothing is paid ahead: blocks with such an instruction in them count as left.
//!
//! Not here: what an instruction costs (`meter`).

use wasmparser::{FunctionBody, Operator};

use crate::rewrite::RewriteError;

/// An open block, `if` or loop.
struct Open {
    /// Who pays for the run that it was entered from.
    payer: usize,
    /// Whether anything in it may leave it otherwise than through its end.
    is_left: bool,
}

/// What is to be paid at the beginning of each run of `body`, in their order: 0 where another run has paid.
pub(crate) fn payments(
    body: &FunctionBody<'_>,
    cost: impl Fn(&Operator<'_>) -> i64,
) -> Result<Vec<i64>, RewriteError> {
    let mut payments = vec![0];
    let mut open: Vec<Open> = Vec::new();
    // Who pays for the run that is being read.
    let mut payer = 0;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let operator = operators.read()?;
        if let Some(payment) = payments.get_mut(payer) {
            *payment += cost(&operator);
        }
        mark_left(&operator, &mut open)?;
        let next = payments.len();
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                open.push(Open { payer, is_left: false });
            }
            _ => {}
        }
        if !ends_run(&operator) {
            continue;
        }
        payer = match (&operator, open.last()) {
            (Operator::End, Some(block)) if !block.is_left => block.payer,
            _ => next,
        };
        if matches!(operator, Operator::End) {
            open.pop();
        }
        payments.push(0);
    }
    Ok(payments)
}

/// Marks the blocks that `operator` may leave.
fn mark_left(operator: &Operator<'_>, open: &mut [Open]) -> Result<(), RewriteError> {
    // Blocks that stay open where it goes.
    let kept = match operator {
        Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => kept(open, *relative_depth),
        Operator::BrTable { targets } => {
            let mut least = kept(open, targets.default());
            for target in targets.targets() {
                least = least.min(kept(open, target?));
            }
            least
        }
        Operator::Return
        | Operator::Unreachable
        | Operator::Call { .. }
        | Operator::CallIndirect { .. }
        | Operator::MemoryFill { .. }
        | Operator::MemoryCopy { .. } => 0,
        _ => return Ok(()),
    };
    open.iter_mut().skip(kept).for_each(|block| block.is_left = true);
    Ok(())
}

/// How many of the open blocks a branch over `depth` of them does not leave. The one whose label it goes to counts as
/// not left: control is then at its end, or in a loop once more.
fn kept(open: &[Open], depth: u32) -> usize {
    open.len().saturating_sub(depth as usize)
}

/// Whether `operator` is the last of its run.
pub(crate) fn ends_run(operator: &Operator<'_>) -> bool {
    use Operator as Op;
    matches!(
        operator,
        Op::Loop { .. }
            | Op::If { .. }
            | Op::Else
            | Op::End
            | Op::Br { .. }
            | Op::BrIf { .. }
            | Op::BrTable { .. }
            | Op::Return
            | Op::Unreachable
            | Op::Call { .. }
            | Op::CallIndirect { .. }
    )
}
