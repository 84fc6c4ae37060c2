//! Shared arrays, and who has touched them since the last barrier.

use drupe_ir::DType;
use std::ops::Range;

/// An array that invocations share.
pub(super) struct Shared {
    /// Its contents.
    pub(super) octets: Vec<u8>,
    /// By element: who has stored it since the last barrier.
    writer: Vec<Option<usize>>,
    /// By element: who has loaded it since, and whether others have too.
    reader: Vec<Option<(usize, bool)>>,
}

impl Shared {
    pub(super) fn new(octets: Vec<u8>, dtype: DType) -> Shared {
        let length = octets.len() / dtype.bytes_of(1);
        Shared { octets, writer: vec![None; length], reader: vec![None; length] }
    }

    /// What was stored is seen, what was loaded may be overwritten.
    pub(super) fn barrier(&mut self) {
        self.writer.fill(None);
        self.reader.fill(None);
    }

    /// Notes that invocation `who` loads or stores `elements`; gives an element, and who is in its way there.
    pub(super) fn touch(&mut self, elements: Range<usize>, who: usize, writes: bool) -> Option<(usize, usize)> {
        for element in elements {
            if let Some(writer) = self.writer[element].filter(|writer| *writer != who) {
                return Some((element, writer));
            }
            let reader = &mut self.reader[element];
            match (writes, *reader) {
                (true, Some((first, others))) if others || first != who => return Some((element, first)),
                (true, _) => self.writer[element] = Some(who),
                (false, None) => *reader = Some((who, false)),
                (false, Some((first, others))) => *reader = Some((first, others || first != who)),
            }
        }
        None
    }
}
