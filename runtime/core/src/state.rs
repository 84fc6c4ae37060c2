//! States: what a model keeps from run to run, written in place.

use std::io::{self, Read, Write};

use drupe_format::plan::{ArchivedPlan, ArchivedPort};
use drupe_format::{DType, OutOfMemory, evaluate};

use crate::device::DeviceMemory;
use crate::error::Error;
use crate::memory::Memory;
use crate::program::Program;
use crate::rows::Rows;

/// The states of a model (a cache of keys and values, say): one tensor for each pair of an input and the output that
/// is its next value, in memory that both share. All have the same number of rows, which grow at the end.
///
/// Programs of several entries may take turns at one `State`. Memory is reserved for the most rows that any of them can
/// reach, and committed by the system as it is first written. For sessions on a device it is the device's
/// ([`crate::Session::state`]): rows cross to the host only where they are saved, and back where they are loaded.
///
/// A state with a *window*, of which only so many last rows are read, has memory for not much more than these: rows lie
/// in order, and where there is no room behind them any more the last ones move to the front, a few for each new row.
/// About half as many rows as there is room for beside the window always stay, to go back to.
pub struct State {
    tensors: Vec<StateTensor>,
    rows: usize,
}

struct StateTensor {
    input: String,
    output: String,
    dtype: DType,
    /// The extents behind the rows.
    row: Vec<usize>,
    row_bytes: usize,
    capacity: usize,
    window: Option<Window>,
    /// The rows that were dropped: memory starts with this row.
    dropped: usize,
    memory: Rows,
}

/// A state's tensor as a run takes it.
pub(crate) struct StatePort {
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) dtype: DType,
    /// Of the rows that are there.
    pub(crate) shape: Vec<usize>,
    /// Where they are in the host's memory; null if they are a device's.
    pub(crate) start: *mut u8,
    /// Bytes that there are for old and new rows.
    pub(crate) bytes: u64,
}

/// Rows of a state that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    /// So many last ones.
    rows: usize,
    /// The most that there may be before a run.
    most: usize,
}

/// The first bytes of a saved state.
const MAGIC: [u8; 8] = *b"DRUPEST\0";

impl State {
    /// Empty states of the entries of `programs`, which have the same ones.
    ///
    /// # Errors
    /// When a program has other states than the first, or rows of unknown size; when memory is short.
    pub fn new(programs: &[&Program]) -> Result<State, Error> {
        State::in_memory(programs, |bytes| Ok(Rows::Host(Memory::new(bytes, None)?)))
    }

    /// [`State::new`] in memory that `allocate` gives.
    pub(crate) fn in_memory(
        programs: &[&Program],
        allocate: impl Fn(u64) -> Result<Rows, Error>,
    ) -> Result<State, Error> {
        let mut tensors: Vec<StateTensor> = Vec::new();
        for (number, program) in programs.iter().enumerate() {
            // A device's plan has the same states, or leaves them to the host.
            let program = program.for_cpu();
            let plan = program.plan();
            let most: Vec<i64> = plan.symbols.iter().map(|symbol| symbol.max.to_native() as i64).collect();
            let mut sizes = Vec::new();
            evaluate(&plan.exprs, &most, &mut sizes)
                .map_err(|(index, fault)| drupe_format::PlanError::Expr { at: drupe_format::At::Expr(index), fault })?;
            if number > 0 && plan.states.len() != tensors.len() {
                return Err(other_states(plan));
            }
            for (index, state) in plan.states.iter().enumerate() {
                let before = &plan.inputs[state.input.to_native() as usize];
                let after = &plan.outputs[state.output.to_native() as usize];
                let (capacity, row) = extents(plan, after, &sizes)?;
                let (most, _) = extents(plan, before, &sizes)?;
                let rows = state.window.as_ref().map(|rows| usize::try_from(rows.to_native()).unwrap_or(usize::MAX));
                let window = rows.map(|rows| Window { rows: rows.min(most), most });
                match tensors.get_mut(index) {
                    Some(known) if number > 0 => {
                        if known.input != before.name.as_str()
                            || known.row != row
                            || known.dtype != after.dtype
                            || known.window != window
                        {
                            return Err(other_states(plan));
                        }
                        known.capacity = known.capacity.max(capacity);
                    }
                    _ => tensors.push(StateTensor {
                        input: before.name.as_str().into(),
                        output: after.name.as_str().into(),
                        dtype: after.dtype,
                        row_bytes: row.iter().product::<usize>() * after.dtype.size(),
                        row,
                        capacity,
                        window,
                        dropped: 0,
                        memory: Rows::Host(Memory::new(0, None)?),
                    }),
                }
            }
        }
        for tensor in &mut tensors {
            tensor.memory = allocate(tensor.bytes(tensor.capacity)?)?;
        }
        Ok(State { tensors, rows: 0 })
    }

    /// The rows that are there.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The most rows that there can be; 0 for a model without states. Those with a window have no end.
    pub fn capacity(&self) -> usize {
        let most = self.tensors.iter().filter(|tensor| tensor.window.is_none()).map(|tensor| tensor.capacity).min();
        most.unwrap_or(if self.tensors.is_empty() { 0 } else { usize::MAX })
    }

    /// The fewest rows that [`State::set_rows`] can go back to, but for 0: with fewer, a window would reach to rows that
    /// were dropped.
    pub fn least_rows(&self) -> usize {
        let least = |tensor: &StateTensor| match tensor.window {
            Some(window) if tensor.dropped > 0 => tensor.dropped + window.rows,
            _ => 0,
        };
        self.tensors.iter().map(least).max().unwrap_or(0)
    }

    /// Bytes of the rows that are there.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.kept_bytes(self.rows) as u64).sum()
    }

    /// Bytes of memory. Of the host's, most are committed by the system only when they are first written.
    pub fn reserved_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| (tensor.row_bytes * tensor.capacity) as u64).sum()
    }

    /// Says how many rows count from now on: those that runs have written behind the others, or fewer, to forget the
    /// last ones. All can be forgotten, and no more than there are behind [`State::least_rows`].
    ///
    /// # Errors
    /// When there is no memory for so many, or what they are behind was dropped.
    pub fn set_rows(&mut self, rows: usize) -> Result<(), Error> {
        let most = self.capacity();
        if rows > most || self.tensors.iter().any(|tensor| rows.saturating_sub(tensor.dropped) > tensor.capacity) {
            return Err(Error::StateRows { rows, most });
        }
        let least = self.least_rows();
        if rows > 0 && rows < least {
            return Err(Error::StateForgotten { rows, least });
        }
        if rows == 0 {
            self.tensors.iter_mut().for_each(|tensor| tensor.dropped = 0);
        }
        self.rows = rows;
        Ok(())
    }

    /// Drops rows in front of windows where a run's new ones may find no room.
    pub(crate) fn make_room(&mut self) -> Result<(), Error> {
        for tensor in &mut self.tensors {
            let kept = self.rows - tensor.dropped;
            let Some(window) = tensor.window.filter(|window| kept > window.most) else { continue };
            let keep = window.rows + (window.most - window.rows) / 2;
            let bytes = tensor.row_bytes;
            tensor.memory.move_to_front((kept - keep) * bytes, kept * bytes)?;
            tensor.dropped = self.rows - keep;
        }
        Ok(())
    }

    /// A copy that goes its own way from here, in the same memory.
    ///
    /// # Errors
    /// When memory is short.
    pub fn fork(&self) -> Result<State, Error> {
        let fork = |tensor: &StateTensor| {
            let StateTensor { input, output, dtype, row, row_bytes, capacity, window, dropped, memory } = tensor;
            Ok(StateTensor {
                input: input.clone(),
                output: output.clone(),
                dtype: *dtype,
                row: row.clone(),
                row_bytes: *row_bytes,
                capacity: *capacity,
                window: *window,
                dropped: *dropped,
                memory: memory.fork(tensor.kept_bytes(self.rows))?,
            })
        };
        Ok(State { tensors: self.tensors.iter().map(fork).collect::<Result<_, Error>>()?, rows: self.rows })
    }

    /// Writes the rows, for [`State::load`] of the same model.
    ///
    /// # Errors
    /// Those of the sink, and of the device that the rows are on.
    pub fn save(&self, sink: &mut dyn Write) -> io::Result<()> {
        sink.write_all(&MAGIC)?;
        sink.write_all(&self.signature().to_le_bytes())?;
        sink.write_all(&(self.rows as u64).to_le_bytes())?;
        for tensor in &self.tensors {
            if tensor.window.is_some() {
                sink.write_all(&(tensor.dropped as u64).to_le_bytes())?;
            }
            tensor.memory.show(tensor.kept_bytes(self.rows), |bytes| sink.write_all(bytes))?;
        }
        Ok(())
    }

    /// Takes over rows that [`State::save`] has written. When it fails there are no rows.
    ///
    /// # Errors
    /// Those of the source; `InvalidData` when it holds no states, another model's, or too many rows.
    pub fn load(&mut self, source: &mut dyn Read) -> io::Result<()> {
        self.rows = 0;
        self.tensors.iter_mut().for_each(|tensor| tensor.dropped = 0);
        let loaded = self.load_rows(source);
        match loaded {
            Ok(rows) => self.rows = rows,
            Err(_) => self.tensors.iter_mut().for_each(|tensor| tensor.dropped = 0),
        }
        loaded.map(|_| ())
    }

    /// [`State::load`] but for the number of rows, which it gives.
    fn load_rows(&mut self, source: &mut dyn Read) -> io::Result<usize> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut head = [[0; 8]; 3];
        for part in &mut head {
            source.read_exact(part)?;
        }
        if head[0] != MAGIC {
            return Err(invalid("these are no states saved by drupe"));
        }
        if u64::from_le_bytes(head[1]) != self.signature() {
            return Err(invalid("the states are those of another model: save them again with this one"));
        }
        let rows = usize::try_from(u64::from_le_bytes(head[2])).unwrap_or(usize::MAX);
        if rows > self.capacity() {
            return Err(invalid("the states have more rows than the model can keep: compile it with a longer context"));
        }
        for tensor in &mut self.tensors {
            if let Some(window) = tensor.window {
                let mut dropped = [0; 8];
                source.read_exact(&mut dropped)?;
                let dropped = usize::try_from(u64::from_le_bytes(dropped)).unwrap_or(usize::MAX);
                let kept = rows.checked_sub(dropped);
                let fits = |kept: &usize| *kept <= tensor.capacity && (dropped == 0 || *kept >= window.rows);
                if kept.filter(fits).is_none() {
                    return Err(invalid("the states have other rows than their windows ask for"));
                }
                tensor.dropped = dropped;
            }
            let len = tensor.kept_bytes(rows);
            tensor.memory.fill(len, |bytes| source.read_exact(bytes))?;
        }
        if source.read(&mut [0])? != 0 {
            return Err(invalid("the states are followed by other bytes"));
        }
        Ok(rows)
    }

    /// What a run takes, in the plan's order.
    pub(crate) fn ports(&mut self) -> Vec<StatePort> {
        let port = |tensor: &mut StateTensor| StatePort {
            input: tensor.input.clone(),
            output: tensor.output.clone(),
            dtype: tensor.dtype,
            shape: std::iter::once(self.rows - tensor.dropped).chain(tensor.row.iter().copied()).collect(),
            start: tensor.memory.start(),
            bytes: (tensor.row_bytes * tensor.capacity) as u64,
        };
        self.tensors.iter_mut().map(port).collect()
    }

    /// The device's memory of every tensor; none if they are in the host's.
    pub(crate) fn on_device(&self) -> Vec<&dyn DeviceMemory> {
        self.tensors.iter().filter_map(|tensor| tensor.memory.on_device()).collect()
    }

    /// A number that states of other names, types or rows hardly share.
    fn signature(&self) -> u64 {
        let text: String = self
            .tensors
            .iter()
            .map(|tensor| {
                let window = tensor.window.map_or(String::new(), |window| format!(" {}", window.rows));
                format!("{} {} {} {:?}{window}\n", tensor.input, tensor.output, tensor.dtype, tensor.row)
            })
            .collect();
        drupe_format::checksum(text.as_bytes())
    }
}

impl StateTensor {
    /// Bytes of the rows that are there, of `rows` in all.
    fn kept_bytes(&self, rows: usize) -> usize {
        self.row_bytes * (rows - self.dropped)
    }

    fn bytes(&self, rows: usize) -> Result<u64, OutOfMemory> {
        let bytes = (self.row_bytes as u64).checked_mul(rows as u64);
        bytes.ok_or(OutOfMemory { bytes: u64::MAX })
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} tensors, {} of {} rows)", self.tensors.len(), self.rows, self.capacity())
    }
}

/// The rows of a port at most, and the extents of one.
fn extents(plan: &ArchivedPlan, port: &ArchivedPort, sizes: &[i64]) -> Result<(usize, Vec<usize>), Error> {
    let size = |dim: &drupe_format::plan::ArchivedExprId| usize::try_from(sizes[dim.index()]).ok();
    let shape: Option<Vec<usize>> = port.shape.iter().map(size).collect();
    let Some((rows, row)) = shape.as_deref().and_then(|shape| shape.split_first()) else {
        return Err(other_states(plan));
    };
    Ok((*rows, row.to_vec()))
}

fn other_states(plan: &ArchivedPlan) -> Error {
    Error::OtherStates { entry: plan.entry.as_str().into() }
}
