//! Attentions as steps of the CPU.

use super::{Builder, argument, elements_read, operations, share, size_of};
use crate::attention::{Joined, Part, find, join};
use crate::emit::{Signature, emit_attention_tasks};
use crate::fuse::Region;
use crate::nest::Nest;
use crate::place::Home;
use crate::schedule::choose_attention;
use crate::{Arg, Step, Work};
use drupe_ir::{DType, Dim, ValueId};
use drupe_kernel::Kernel;
use indexmap::IndexSet;
use std::collections::BTreeMap;

impl Builder<'_> {
    /// Finds the attentions of `regions` that are one step of the CPU. All operands have their places.
    pub(super) fn join_attentions(&mut self, regions: &[Region]) {
        self.attentions = find(self.module, self.roles, regions);
        let by_result: BTreeMap<ValueId, &Region> = regions.iter().map(|region| (region.result, region)).collect();
        let part = |value: ValueId| -> (Nest, Vec<Home>) {
            let region = by_result[&value];
            let homes: Vec<Home> = region.operands.iter().map(|operand| self.home(*operand)).collect();
            (Nest::unmerged(&region.body, &homes, &self.home(value)), homes)
        };
        let joined = |(result, of): (&ValueId, &Part)| {
            let Part::Sum { scores, weights } = of else { return None };
            let operand = by_result[result].operands.iter().position(|operand| operand == weights)?;
            let single = |nest: &Nest| nest.body.dtype(nest.body.folds[0].element) == DType::F32;
            let (scores, sum) = (part(*scores), part(*result));
            let fits = single(&scores.0) && single(&sum.0) && scores.0.body.dtype(scores.0.body.value) == DType::F32;
            Some((*result, join(scores, sum, operand).filter(|_| fits)?))
        };
        self.joined = self.attentions.iter().filter_map(joined).collect();
    }

    /// Adds the step of an attention that ends in `region`; whether `region` is a part of one.
    pub(super) fn attention_step(&mut self, region: &Region) -> bool {
        match self.attentions.get(&region.result) {
            Some(Part::Scores(sum) | Part::Weights(sum)) => self.joined.contains_key(sum),
            Some(Part::Sum { .. }) => match self.joined.remove(&region.result) {
                Some(joined) => {
                    self.add_attention(region, &joined);
                    true
                }
                None => false,
            },
            None => false,
        }
    }

    fn add_attention(&mut self, region: &Region, joined: &Joined) {
        let Joined { attention, homes, dtypes } = joined;
        let (scores, sum) = (&attention.scores, &attention.sum);
        // The weights, which are no operand any more, are a factor of the sum.
        let elements = Dim::product(&sum.extents);
        let weighted = &(&elements * &sum.body.folds[0].space[0]) * &Dim::from(2);
        let flops = &(&operations(scores) + &weighted) + &elements;
        let tasks = share(&flops);
        let result = sum.body.dtype(sum.body.value);
        let signature = Signature { name: String::new(), operands: dtypes.clone(), result, tasks: tasks.clone() };
        let mut dims = IndexSet::new();
        let mut levels: Vec<Kernel> = Vec::new();
        for level in &self.target.levels {
            let schedule = choose_attention(attention, level);
            levels.push(emit_attention_tasks(attention, &schedule, &signature, &mut dims));
        }
        let work = Work::Kernel(self.add_kernel(levels, "attention"));
        let to = self.home(region.result);
        let operands = || homes.iter().zip(dtypes).enumerate();
        let mut args: Vec<Arg> = operands().map(|(_, (home, dtype))| argument(home, *dtype, false)).collect();
        args.push(argument(&to, result, true));
        let written = size_of(result, &elements);
        let bytes = operands().fold(written, |bytes, (operand, (home, dtype))| {
            let elements = elements_read(scores, operand).larger(&elements_read(sum, operand));
            &bytes + &size_of(*dtype, &elements).smaller(&self.places.buffers[home.buffer.0].bytes)
        });
        let (dims, result) = (dims.into_iter().collect(), self.left(region.result, &to));
        let origin = self.module.graph.node(region.result).origin.clone();
        self.steps.push(Step { work, args, dims, tasks, origin, result, flops, bytes });
        self.launches.push(None);
        self.overwritable.push(Vec::new());
    }
}
