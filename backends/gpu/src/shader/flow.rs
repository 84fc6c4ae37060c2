//! Loops and branches.

use super::Translator;
use super::code::Expr;
use super::held::{Held, part_kind};
use crate::GpuError;
use drupe_kernel as ir;
use naga::{BinaryOperator as Bin, Block, Scalar, Statement};

/// Variables that hand a value over: one for each part.
struct Carried {
    scalar: Scalar,
    lanes: usize,
    parts: Vec<Expr>,
}

impl Translator<'_> {
    pub fn for_loop(&mut self, inner: &ir::Loop) -> Result<(), GpuError> {
        let [low, high] = [inner.low, inner.high].map(|value| self.offset(value).expr);
        let ty = self.code.ty(part_kind(Scalar::I32, 1));
        let counter = self.code.variable("index", ty);
        let carried: Vec<Carried> = inner.carried.iter().map(|value| self.variables(*value)).collect();
        self.hand_over(&inner.init, &carried);
        self.code.store(counter, low);
        self.code.open();
        let index = self.code.load(counter);
        let inside = self.code.binary(Bin::Less, index, high);
        self.code.open();
        self.code.statement(Statement::Break);
        let reject = self.code.close();
        self.code.statement(Statement::If { condition: inside, accept: Block::new(), reject });
        self.define(inner.index, Held::scalar(Scalar::I32, index));
        // What the last iteration left there may still be read.
        self.scratch.busy = true;
        self.take(&inner.carried, &carried);
        self.block(&inner.body)?;
        self.hand_over(&inner.body.yields, &carried);
        let step = self.code.i32(i32::try_from(inner.step).unwrap_or(i32::MAX));
        let next = self.code.binary(Bin::Add, index, step);
        self.code.store(counter, next);
        let body = self.code.close();
        self.code.statement(Statement::Loop { body, continuing: Block::new(), break_if: None });
        self.take(&inner.results, &carried);
        Ok(())
    }

    pub fn branch(
        &mut self,
        results: &[ir::Value],
        condition: ir::Value,
        then: &ir::Block,
        otherwise: &ir::Block,
    ) -> Result<(), GpuError> {
        let condition = self.held(condition).parts[0];
        let carried: Vec<Carried> = results.iter().map(|value| self.variables(*value)).collect();
        let mut blocks = [Block::new(), Block::new()];
        for (block, taken) in blocks.iter_mut().zip([then, otherwise]) {
            self.code.open();
            self.block(taken)?;
            self.hand_over(&taken.yields, &carried);
            *block = self.code.close();
        }
        let [accept, reject] = blocks;
        self.code.statement(Statement::If { condition, accept, reject });
        self.take(results, &carried);
        Ok(())
    }

    /// Variables for values like `value`.
    fn variables(&mut self, value: ir::Value) -> Carried {
        let (scalar, lanes) = (self.register_of(value), usize::from(self.kernel.ty(value).lanes));
        let ty = self.code.ty(part_kind(scalar, lanes));
        let parts = (0..lanes.div_ceil(4)).map(|_| self.code.variable("carried", ty)).collect();
        Carried { scalar, lanes, parts }
    }

    /// Stores values to the variables. All were loaded before: so they may change places.
    fn hand_over(&mut self, values: &[ir::Value], to: &[Carried]) {
        for (value, carried) in values.iter().zip(to) {
            let held = self.held(*value);
            let held = self.widened(&held, Self::is_long(carried.scalar));
            for (variable, part) in carried.parts.iter().zip(held.parts) {
                self.code.store(*variable, part);
            }
        }
    }

    /// Defines values as what the variables hold.
    fn take(&mut self, values: &[ir::Value], from: &[Carried]) {
        for (value, carried) in values.iter().zip(from) {
            let parts = carried.parts.iter().map(|variable| self.code.load(*variable)).collect();
            self.define(*value, Held { scalar: carried.scalar, lanes: carried.lanes, parts });
        }
    }
}
