//! The constants that shaders use, on the device: uploaded once, in as few buffers as it takes.

use std::sync::Arc;

use drupe_format::plan::{ArchivedPlace, ArchivedPlan, ArchivedStepOp};
use drupe_format::{DEVICE_ALIGNMENT, Location};
use drupe_runtime::{DeviceError, Program};
use wgpu::Buffer;

use crate::gpu::Gpu;
use crate::memory::{CHUNK, STORAGE, create, write};

/// Bytes of a buffer that more than one constant shares: larger ones are harder to find room for.
const SHARED_BYTES: u64 = 256 << 20;

/// The constants of a plan on the device. Plans of one program, as those of a language model's entries are, share what
/// both use.
pub(crate) struct Constants {
    batches: Vec<Arc<Batch>>,
}

/// Constants that were uploaded together.
pub(crate) struct Batch {
    buffers: Vec<Buffer>,
    /// Sorted by `start`, apart from each other.
    places: Vec<Place>,
}

/// A range of the constants section and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    start: u64,
    end: u64,
    buffer: usize,
    offset: u64,
}

impl Constants {
    /// What the plan's shaders use: what is in `known`, batches of the same program, and the rest, uploaded.
    pub(crate) fn new(gpu: &Gpu, program: &Program, known: Vec<Arc<Batch>>) -> Result<Constants, DeviceError> {
        let has = |batch: &Arc<Batch>, (start, end): (u64, u64)| batch.find(start, end - start).is_some();
        let used = used(program.plan());
        let mut batches = known;
        batches.retain(|batch| used.iter().any(|range| has(batch, *range)));
        let rest: Vec<(u64, u64)> =
            used.into_iter().filter(|range| !batches.iter().any(|batch| has(batch, *range))).collect();
        if !rest.is_empty() {
            batches.push(Arc::new(Batch::upload(gpu, program, &rest)?));
        }
        Ok(Constants { batches })
    }

    /// For programs that are loaded later.
    pub(crate) fn batches(&self) -> &[Arc<Batch>] {
        &self.batches
    }

    /// The buffer and offset of a location in the constants.
    pub(crate) fn find(&self, location: &Location) -> Option<(&Buffer, u64)> {
        self.batches.iter().find_map(|batch| batch.find(location.offset, location.size))
    }

    /// All of them, shared or not.
    pub(crate) fn bytes(&self) -> u64 {
        self.batches.iter().map(|batch| batch.bytes()).sum()
    }
}

impl Batch {
    fn upload(gpu: &Gpu, program: &Program, ranges: &[(u64, u64)]) -> Result<Batch, DeviceError> {
        let most = gpu.shared.info.limits.buffer_bytes.min(SHARED_BYTES);
        let (places, sizes) = place(ranges, most);
        let create = |&size: &u64| create(gpu, "constants", size, STORAGE);
        let buffers: Vec<Buffer> = sizes.iter().map(create).collect::<Result<_, _>>()?;
        for place in &places {
            let bytes = &program.constants()[place.start as usize..place.end as usize];
            for (index, chunk) in bytes.chunks(CHUNK as usize).enumerate() {
                write(gpu, &buffers[place.buffer], place.offset + index as u64 * CHUNK, chunk);
                if chunk.len() as u64 == CHUNK {
                    // What waits to be copied is memory, too.
                    gpu.wait(gpu.submit(None))?;
                }
            }
        }
        gpu.submit(None);
        gpu.shared.faults.check()?;
        Ok(Batch { buffers, places })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.buffers.iter().map(Buffer::size).sum()
    }

    fn find(&self, offset: u64, size: u64) -> Option<(&Buffer, u64)> {
        let index = self.places.partition_point(|place| place.start <= offset).checked_sub(1)?;
        let place = self.places[index];
        let inside = offset + size <= place.end;
        inside.then(|| (&self.buffers[place.buffer], place.offset + (offset - place.start)))
    }
}

/// The ranges of the constants that shaders use: whole constants, in any order.
fn used(plan: &ArchivedPlan) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let shaders = plan.steps.iter().filter(|step| matches!(step.op, ArchivedStepOp::Shader(_)));
    for arg in shaders.flat_map(|step| step.args.iter()) {
        let mut buffer = arg.buffer.index();
        loop {
            match &plan.buffers[buffer].place {
                ArchivedPlace::View { of, .. } => buffer = of.index(),
                ArchivedPlace::Constant { offset, len } => {
                    ranges.push((offset.to_native(), offset.to_native() + len.to_native()));
                    break;
                }
                ArchivedPlace::Arena { .. } | ArchivedPlace::Input | ArchivedPlace::Output => break,
            }
        }
    }
    ranges
}

/// Puts ranges into buffers of at most `most` bytes, or of one range that is larger; returns the buffers'
/// sizes, too.
fn place(ranges: &[(u64, u64)], most: u64) -> (Vec<Place>, Vec<u64>) {
    let mut ranges = ranges.to_vec();
    ranges.sort_unstable();
    let mut places: Vec<Place> = Vec::new();
    for (start, end) in ranges {
        match places.last_mut().filter(|last| start < last.end || (start, end) == (last.start, last.end)) {
            Some(last) => last.end = last.end.max(end),
            None => places.push(Place { start, end, buffer: 0, offset: 0 }),
        }
    }
    let mut sizes: Vec<u64> = Vec::new();
    for place in &mut places {
        let len = place.end - place.start;
        let last = sizes.last().map(|size| size.next_multiple_of(DEVICE_ALIGNMENT));
        match last.filter(|offset| offset + len <= most) {
            Some(offset) => place.offset = offset,
            None => sizes.push(0),
        }
        place.buffer = sizes.len() - 1;
        sizes[place.buffer] = place.offset + len;
    }
    (places, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_share_buffers_until_they_are_full() {
        let ranges = [(4096, 4100), (0, 10), (512, 600), (0, 10), (512, 530), (8192, 10_000)];
        let (places, sizes) = place(&ranges, 1000);
        let found: Vec<_> = places.iter().map(|place| (place.start, place.end, place.buffer, place.offset)).collect();
        assert_eq!(found, [(0, 10, 0, 0), (512, 600, 0, 256), (4096, 4100, 0, 512), (8192, 10_000, 1, 0)]);
        assert_eq!(sizes, [516, 1808]);
        assert_eq!(place(&[], 1000), (vec![], vec![]));
    }
}
