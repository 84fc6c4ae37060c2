//! How a GPU runs a step: the shader and its arguments.

use super::{Builder, stem};
use crate::affine::Affine;
use crate::attention::{Attention, Joined, Part, join};
use crate::emit::{Signature, attention_workgroups, emit, emit_attention, workgroups};
use crate::fuse::Region;
use crate::nest::{Address, Nest};
use crate::place::Home;
use crate::schedule::{by_tiles, choose_for_gpu};
use crate::units::Launch;
use crate::{Arg, BufferId, ShaderId, ShaderVariants, Work};
use drupe_ir::{DType, Dim};
use drupe_target::Gpu;
use indexmap::IndexSet;
use std::collections::BTreeSet;
use std::ops::Range;

/// A region of an attention, before its operands are packed.
pub struct AttentionPart {
    pub nest: Nest,
    pub homes: Vec<Home>,
    pub steps: Range<usize>,
}

/// What a shader is given.
struct Arguments {
    /// Its buffers, the result last.
    args: Vec<Arg>,
    /// The element types of those before the result.
    dtypes: Vec<DType>,
    /// By operand its position in `args`.
    of_operand: Vec<usize>,
}

/// Whether the GPU can load and store elements of type `dtype`.
fn has_type(dtype: DType, gpu: &Gpu) -> bool {
    match dtype {
        DType::F64 => false,
        DType::I64 => gpu.has("int64"),
        _ => true,
    }
}

impl Builder<'_> {
    /// How the GPU runs `nest`, if it is asked for and has room for the arguments. There, starts are part of the
    /// addresses, so that every argument begins with its buffer and is aligned, and a buffer is one argument.
    pub(super) fn shader(
        &mut self,
        nest: &Nest,
        operands: &[Home],
        to: &Home,
        overwritable: &[usize],
    ) -> Option<Launch> {
        self.options.gpu?;
        let gpu = self.target.gpu.as_ref()?;
        let mut nest = nest.clone();
        if let Some(sums) = nest.quantized.as_mut().and_then(|quantized| quantized.sums.take()) {
            nest.reads.remove(&sums);
        }
        let result = nest.body.dtype(nest.body.value);
        let reads = nest.reads.values_mut().collect();
        let arguments = self.arguments(reads, operands, &nest.operands, to, result)?;
        nest.operands = arguments.dtypes;
        nest.result = nest.result.plus(&Affine::constant(to.start.clone()));
        let schedule = choose_for_gpu(&nest, gpu);
        let tasks = workgroups(&nest, &schedule);
        let signature =
            Signature { name: String::new(), operands: nest.operands.clone(), result, tasks: tasks.clone() };
        let mut dims = IndexSet::new();
        let plain = emit(&nest, &schedule, &signature, &mut dims);
        let tiled = by_tiles(&nest, &schedule, gpu);
        let cooperative = tiled.iter().map(|schedule| emit(&nest, schedule, &signature, &mut dims)).collect();
        let mut overwritable: Vec<usize> = overwritable.iter().map(|operand| arguments.of_operand[*operand]).collect();
        overwritable.retain(|operand| gpu.aliasing && *operand + 1 < arguments.args.len());
        let mut shader = ShaderVariants { plain, cooperative };
        shader.all_mut().for_each(|kernel| kernel.dims = dims.len());
        let work = self.add_shader(shader, stem(&nest))?;
        let of_octets = nest.quantized.as_ref().is_some_and(|quantized| !quantized.of_floats());
        Some(Launch { overwritable, of_octets, ..Launch::new(work, arguments.args, dims, tasks) })
    }

    /// Adds a kernel, or finds it.
    fn add_shader(&mut self, mut shader: ShaderVariants, stem: &str) -> Option<Work> {
        // Few GPUs have these, and those are slow with them.
        if shader.plain.types.iter().any(|ty| ty.dtype == DType::F64) {
            return None;
        }
        let entry = self.shaders.entry(format!("{shader:?}"));
        let id = ShaderId(entry.index());
        shader.all_mut().for_each(|kernel| kernel.name = format!("drupe_{stem}_{}", id.0));
        entry.or_insert(shader);
        Some(Work::Shader(id))
    }

    /// The arguments of a shader, one a buffer, and `reads` as reads of them; `None` if the GPU has no room for them. A
    /// state is one buffer, whether it is read as it was or as it is going to be.
    fn arguments(
        &self,
        reads: Vec<&mut (usize, Address)>,
        homes: &[Home],
        dtypes: &[DType],
        to: &Home,
        result: DType,
    ) -> Option<Arguments> {
        let gpu = self.target.gpu.as_ref()?;
        let used: BTreeSet<usize> = reads.iter().map(|(operand, _)| *operand).collect();
        let buffer_of = |operand: usize| {
            let buffer = homes[operand].buffer;
            self.grown.get(&buffer).copied().unwrap_or(buffer)
        };
        let mut distinct: IndexSet<(BufferId, DType)> = IndexSet::new();
        for operand in &used {
            let key = (buffer_of(*operand), dtypes[*operand]);
            if key != (to.buffer, result) {
                distinct.insert(key);
            }
        }
        let fits = |buffer: BufferId| {
            let bytes = self.places.buffers[buffer.0].bytes.as_const();
            bytes.is_none_or(|bytes| bytes as u64 <= gpu.binding_bytes)
        };
        let overlaps = distinct.iter().enumerate().any(|(position, (buffer, _))| {
            *buffer == to.buffer || distinct.iter().skip(position + 1).any(|(other, _)| other == buffer)
        });
        let all_fit = fits(to.buffer) && distinct.iter().all(|(buffer, _)| fits(*buffer));
        let has_types = distinct.iter().map(|(_, dtype)| *dtype).chain([result]).all(|dtype| has_type(dtype, gpu));
        if !all_fit || !has_types || distinct.len() + 1 > gpu.storage_buffers as usize || overlaps && !gpu.aliasing {
            return None;
        }
        // Behind the operands comes the result; who reads its buffer reads that.
        let argument =
            |operand: usize| distinct.get_index_of(&(buffer_of(operand), dtypes[operand])).unwrap_or(distinct.len());
        for (operand, address) in reads {
            address.shift(&homes[*operand].start);
            *operand = argument(*operand);
        }
        let arg = |buffer: BufferId, writes: bool| Arg { buffer, offset: Dim::from(0), writes };
        let mut args: Vec<Arg> = distinct.iter().map(|(buffer, _)| arg(*buffer, false)).collect();
        args.push(arg(to.buffer, true));
        Some(Arguments {
            args,
            of_operand: (0..homes.len()).map(argument).collect(),
            dtypes: distinct.iter().map(|(_, dtype)| *dtype).collect(),
        })
    }

    /// Notes a part of an attention; with the last of them, its three regions become one launch on the GPU.
    pub(super) fn attention(&mut self, region: &Region, part: Part, own: AttentionPart, to: &Home) {
        let Part::Sum { scores, weights } = part else {
            self.attention_parts.insert(region.result, own);
            return;
        };
        let weights_operand = region.operands.iter().position(|operand| *operand == weights);
        let (Some(scores), Some(weights)) =
            (self.attention_parts.remove(&scores), self.attention_parts.remove(&weights))
        else {
            return;
        };
        let Some(weights_operand) = weights_operand else { return };
        let (scores_part, sum_part) = ((scores.nest, scores.homes), (own.nest, own.homes));
        let Some(Joined { attention, homes, dtypes }) = join(scores_part, sum_part, weights_operand) else { return };
        let Some(launch) = self.attention_shader(attention, &homes, &dtypes, to) else { return };
        let steps = scores.steps.chain(weights.steps).chain(own.steps);
        let last = self.steps.len() - 1;
        for step in steps.filter(|step| *step != last) {
            self.launches[step] = Some(Launch::part_of(last));
        }
        self.launches[last] = Some(launch);
    }

    fn attention_shader(
        &mut self,
        mut attention: Attention,
        homes: &[Home],
        dtypes: &[DType],
        to: &Home,
    ) -> Option<Launch> {
        if !attention.is_plain() {
            return None;
        }
        let result = attention.sum.body.dtype(attention.sum.body.value);
        let nests = [&mut attention.scores, &mut attention.sum];
        let reads = nests.into_iter().flat_map(|nest| nest.reads.values_mut()).collect();
        let arguments = self.arguments(reads, homes, dtypes, to, result)?;
        attention.sum.result = attention.sum.result.plus(&Affine::constant(to.start.clone()));
        let tasks = attention_workgroups(&attention);
        let signature = Signature { name: String::new(), operands: arguments.dtypes, result, tasks: tasks.clone() };
        let mut dims = IndexSet::new();
        let plain = emit_attention(&attention, &signature, &mut dims);
        let shader = ShaderVariants { plain, cooperative: Vec::new() };
        let work = self.add_shader(shader, "attention")?;
        Some(Launch::new(work, arguments.args, dims, tasks))
    }
}
