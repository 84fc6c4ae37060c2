//! The constants that shaders use, on the device: uploaded once, in as few buffers as it takes.

use drupe_format::plan::{ArchivedPlace, ArchivedPlan, ArchivedStepOp};
use drupe_format::{DEVICE_ALIGNMENT, Location};
use drupe_runtime::{DeviceError, Program};
use wgpu::Buffer;

use crate::gpu::Gpu;
use crate::memory::{CHUNK, STORAGE, create, write};

/// Bytes of a buffer that more than one constant shares: larger ones are harder to find room for.
const SHARED_BYTES: u64 = 256 << 20;

/// Where the constants of a plan are on the device.
pub(crate) struct Constants {
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
    /// Uploads what the plan's shaders use.
    pub(crate) fn new(gpu: &Gpu, program: &Program) -> Result<Constants, DeviceError> {
        let most = gpu.shared.info.limits.buffer_bytes.min(SHARED_BYTES);
        let (places, sizes) = place(&used(program.plan()), most);
        let create = |&size: &u64| create(gpu, "constants", size, STORAGE);
        let buffers: Vec<Buffer> = sizes.iter().map(create).collect::<Result<_, _>>()?;
        for place in &places {
            let bytes = &program.constants()[place.start as usize..place.end as usize];
            for (index, chunk) in bytes.chunks(CHUNK as usize).enumerate() {
                write(gpu, &buffers[place.buffer], place.offset + index as u64 * CHUNK, chunk);
                if chunk.len() as u64 == CHUNK {
                    // What waits to be copied is memory, too.
                    let submission = gpu.shared.queue.submit([]);
                    gpu.wait(Some(submission))?;
                }
            }
        }
        gpu.shared.queue.submit([]);
        gpu.shared.faults.check()?;
        Ok(Constants { buffers, places })
    }

    /// The buffer and offset of a location in the constants.
    pub(crate) fn find(&self, location: &Location) -> Option<(&Buffer, u64)> {
        let index = self.places.partition_point(|place| place.start <= location.offset).checked_sub(1)?;
        let place = self.places[index];
        let inside = location.offset + location.size <= place.end;
        inside.then(|| (&self.buffers[place.buffer], place.offset + (location.offset - place.start)))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.buffers.iter().map(Buffer::size).sum()
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
