//! Attentions as steps of the CPU.

use super::{Builder, argument, elements_read, operations, share, size_of};
use crate::attention::{Attention, Joined, Part, find, join};
use crate::emit::{Signature, emit_attention_parts, emit_attention_tasks, part_elements};
use crate::fuse::Region;
use crate::nest::Nest;
use crate::place::{Halo, Home, name_of};
use crate::schedule::{AttentionSchedule, choose_attention, key_parts};
use crate::{Arg, Port, Step, Work};
use drupe_ir::{DType, Dim, Type, ValueId};
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
        let result = sum.body.dtype(sum.body.value);
        let read = homes.iter().zip(dtypes).enumerate().fold(Dim::from(0), |bytes, (operand, (home, dtype))| {
            let elements = elements_read(scores, operand).larger(&elements_read(sum, operand));
            &bytes + &size_of(*dtype, &elements).smaller(&self.places.buffers[home.buffer.0].bytes)
        });
        let (to, left) = (self.home(region.result), self.left(region.result, &self.home(region.result)));
        let written = size_of(result, &elements);
        let parts = key_parts(attention);
        if parts == 1 {
            let work = Attending { joined, emit: emit_attention_tasks, flops, bytes: &read + &written };
            return self.attending(region, work, (&to, result), left);
        }
        let ty = Type::new(DType::F32, [part_elements(attention, parts)]);
        let home =
            self.places.allocate(&format!("{}.parts", name_of(self.module, region.result)), &ty, &Halo::none(1), false);
        let work = Attending { joined, emit: emit_attention_tasks, flops, bytes: &read + &ty.bytes() };
        self.attending(region, work, (&home, DType::F32), None);
        let mut epilogue = joined.epilogue();
        epilogue.homes.push(home);
        epilogue.dtypes.push(DType::F32);
        let flops = &ty.elements() * &Dim::from(2);
        let work = Attending { joined: &epilogue, emit: emit_attention_parts, flops, bytes: &ty.bytes() + &written };
        self.attending(region, work, (&to, result), left);
    }

    /// Adds a step of an attention, which writes elements of a type to `to` and leaves `result`.
    fn attending(&mut self, region: &Region, work: Attending, to: (&Home, DType), result: Option<Port>) {
        let Joined { attention, homes, dtypes } = work.joined;
        let tasks = share(&work.flops);
        let signature = Signature { name: String::new(), operands: dtypes.clone(), result: to.1, tasks: tasks.clone() };
        let mut dims = IndexSet::new();
        let mut levels: Vec<Kernel> = Vec::new();
        for level in &self.target.levels {
            let schedule = choose_attention(attention, level);
            levels.push((work.emit)(attention, &schedule, &signature, &mut dims));
        }
        let kernel = Work::Kernel(self.add_kernel(levels, "attention"));
        let mut args: Vec<Arg> = homes.iter().zip(dtypes).map(|(home, dtype)| argument(home, *dtype, false)).collect();
        args.push(argument(to.0, to.1, true));
        let (dims, origin) = (dims.into_iter().collect(), self.module.graph.node(region.result).origin.clone());
        let (flops, bytes) = (work.flops, work.bytes);
        self.steps.push(Step { work: kernel, args, dims, tasks, origin, result, flops, bytes });
        self.launches.push(None);
        self.overwritable.push(Vec::new());
    }
}

/// A step of an attention: what it reads, its kernel, and what it costs.
struct Attending<'a> {
    joined: &'a Joined,
    emit: fn(&Attention, &AttentionSchedule, &Signature, &mut IndexSet<Dim>) -> Kernel,
    flops: Dim,
    bytes: Dim,
}
