//! Blocks, loops and branches.

use super::Translator;
use super::lanes::{Held, Shape};
use crate::CraneliftError;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};
use drupe_ir::DType;
use drupe_kernel as ir;
use drupe_kernel::Loop;

impl Translator<'_> {
    /// The loop over tasks.
    pub fn tasks(&mut self, begin: Value, end: Value) -> Result<(), CraneliftError> {
        let kernel = self.kernel;
        self.counted(begin, end, 1, &[], |t, index, _| {
            t.define(kernel.task, Held::scalar(types::I64, index));
            kernel.body.insts.iter().try_for_each(|inst| t.inst(inst))?;
            Ok(Vec::new())
        })?;
        Ok(())
    }

    pub fn for_loop(&mut self, inner: &Loop) -> Result<(), CraneliftError> {
        let (low, high) = (self.scalar(inner.low), self.scalar(inner.high));
        let init = self.flattened(&inner.init);
        let results = self.counted(low, high, inner.step, &init, |t, index, carried| {
            t.define(inner.index, Held::scalar(types::I64, index));
            t.define_all(&inner.carried, carried);
            inner.body.insts.iter().try_for_each(|inst| t.inst(inst))?;
            Ok(t.flattened(&inner.body.yields))
        })?;
        self.define_all(&inner.results, &results);
        Ok(())
    }

    /// A loop that tests at its end; the values after it.
    fn counted(
        &mut self,
        low: Value,
        high: Value,
        step: i64,
        init: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Result<Vec<Value>, CraneliftError>,
    ) -> Result<Vec<Value>, CraneliftError> {
        let (inside, after) = (self.b.create_block(), self.b.create_block());
        let index = self.b.append_block_param(inside, types::I64);
        let carried = self.parameters(inside, init);
        let results = self.parameters(after, init);
        let enter = self.b.ins().icmp(IntCC::SignedLessThan, low, high);
        self.b.ins().brif(enter, inside, &arguments(&[low], init), after, &arguments(&[], init));
        self.b.switch_to_block(inside);
        let yields = body(self, index, &carried)?;
        let step = self.b.ins().iconst(types::I64, step);
        let next = self.b.ins().iadd(index, step);
        let again = self.b.ins().icmp(IntCC::SignedLessThan, next, high);
        self.b.ins().brif(again, inside, &arguments(&[next], &yields), after, &arguments(&[], &yields));
        self.b.switch_to_block(after);
        Ok(results)
    }

    pub fn branch(
        &mut self,
        results: &[ir::Value],
        condition: ir::Value,
        then: &ir::Block,
        otherwise: &ir::Block,
    ) -> Result<(), CraneliftError> {
        let condition = self.scalar(condition);
        let blocks = [self.b.create_block(), self.b.create_block()];
        let after = self.b.create_block();
        self.b.ins().brif(condition, blocks[0], &[], blocks[1], &[]);
        for (start, block) in blocks.into_iter().zip([then, otherwise]) {
            self.b.switch_to_block(start);
            block.insts.iter().try_for_each(|inst| self.inst(inst))?;
            let yields = self.flattened(&block.yields);
            self.b.ins().jump(after, &arguments(&[], &yields));
        }
        let mut parameters = Vec::new();
        for result in results {
            let shape = Shape::of(self.kernel.ty(*result));
            for _ in 0..shape.parts() {
                parameters.push(self.b.append_block_param(after, shape.part()));
            }
        }
        self.b.switch_to_block(after);
        self.define_all(results, &parameters);
        Ok(())
    }

    /// The parts of `values`, one after the other, in the shapes that blocks hand over.
    fn flattened(&mut self, values: &[ir::Value]) -> Vec<Value> {
        let mut parts = Vec::new();
        for value in values {
            let held = self.held(*value).clone();
            match self.dtype(*value) {
                DType::Bool => parts.extend(self.mask(&held, types::I32).parts),
                _ => parts.extend(held.parts),
            }
        }
        parts
    }

    /// Defines `values` from what [`Translator::flattened`] gave.
    fn define_all(&mut self, values: &[ir::Value], parts: &[Value]) {
        let mut rest = parts;
        for value in values {
            let shape = Shape::of(self.kernel.ty(*value));
            let (own, others) = rest.split_at(shape.parts());
            self.define(*value, Held { shape, parts: own.to_vec() });
            rest = others;
        }
    }

    /// Parameters of `block` of the types of `values`.
    fn parameters(&mut self, block: Block, values: &[Value]) -> Vec<Value> {
        let types: Vec<_> = values.iter().map(|value| self.b.func.dfg.value_type(*value)).collect();
        types.into_iter().map(|ty| self.b.append_block_param(block, ty)).collect()
    }
}

fn arguments(first: &[Value], rest: &[Value]) -> Vec<BlockArg> {
    first.iter().chain(rest).map(|value| BlockArg::Value(*value)).collect()
}
