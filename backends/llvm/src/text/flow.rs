//! Blocks, loops and branches.

use super::{Mlir, Writer};
use crate::LlvmError;
use drupe_kernel::{Block, Loop, Value};

impl Writer<'_> {
    /// The instructions of `block` and what it yields, one level deeper.
    pub(super) fn block(&mut self, block: &Block, terminator: &str) -> Result<(), LlvmError> {
        self.depth += 1;
        for inst in &block.insts {
            self.inst(inst)?;
        }
        if !block.yields.is_empty() {
            let (names, types) = (self.name_list(&block.yields), self.type_list(&block.yields));
            self.line(format_args!("{terminator} {names} : {types}"));
        }
        self.depth -= 1;
        Ok(())
    }

    pub(super) fn for_loop(&mut self, inner: &Loop) -> Result<(), LlvmError> {
        let (low, high) = (self.name(inner.low), self.name(inner.high));
        let step = self.temp(format_args!("arith.constant {} : i64", inner.step));
        let index = self.define(inner.index);
        let mut carried = String::new();
        if !inner.carried.is_empty() {
            let pairs: Vec<String> = (inner.carried.iter().zip(&inner.init))
                .map(|(carried, init)| format!("{} = {}", self.define(*carried), self.name(*init)))
                .collect();
            carried = format!(" iter_args({}) -> ({})", pairs.join(", "), self.type_list(&inner.carried));
        }
        let results = self.result_list(&inner.results);
        self.line(format_args!("{results}scf.for {index} = {low} to {high} step {step}{carried} : i64 {{"));
        self.block(&inner.body, "scf.yield")?;
        self.line(format_args!("}}"));
        Ok(())
    }

    pub(super) fn branch(
        &mut self,
        results: &[Value],
        condition: Value,
        then: &Block,
        otherwise: &Block,
    ) -> Result<(), LlvmError> {
        let condition = self.name(condition);
        let types = if results.is_empty() { String::new() } else { format!(" -> ({})", self.type_list(results)) };
        let results = self.result_list(results);
        self.line(format_args!("{results}scf.if {condition}{types} {{"));
        self.block(then, "scf.yield")?;
        self.line(format_args!("}} else {{"));
        self.block(otherwise, "scf.yield")?;
        self.line(format_args!("}}"));
        Ok(())
    }

    /// `%a, %b = `, with new names; nothing for no results.
    fn result_list(&mut self, results: &[Value]) -> String {
        let names: Vec<String> = results.iter().map(|result| self.define(*result).to_string()).collect();
        if names.is_empty() { String::new() } else { names.join(", ") + " = " }
    }

    fn name_list(&self, values: &[Value]) -> String {
        values.iter().map(|value| self.name(*value).to_string()).collect::<Vec<_>>().join(", ")
    }

    fn type_list(&self, values: &[Value]) -> String {
        values.iter().map(|value| Mlir(self.ty(*value)).to_string()).collect::<Vec<_>>().join(", ")
    }
}
