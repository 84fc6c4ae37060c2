//! States: what a model keeps from run to run, written in place.

use std::io::{self, Read, Write};

use drupe_format::plan::{ArchivedPlan, ArchivedPort};
use drupe_format::{DType, OutOfMemory, evaluate};

use crate::error::Error;
use crate::memory::Memory;
use crate::program::Program;
use crate::tensor::TensorView;

/// The states of a model (a cache of keys and values, say): one tensor for each pair of an input and the output that
/// is its next value, in memory that both share. All have the same number of rows, which grow at the end.
///
/// Programs of several entries may take turns at one `State`. Memory is reserved for the most rows that any of them can
/// reach, and committed by the system as it is first written.
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
    memory: Memory,
}

/// The first bytes of a saved state.
const MAGIC: [u8; 8] = *b"DRUPEST\0";

impl State {
    /// Empty states of the entries of `programs`, which have the same ones.
    ///
    /// # Errors
    /// When a program has other states than the first, or rows of unknown size; when memory is short.
    pub fn new(programs: &[&Program]) -> Result<State, Error> {
        let mut tensors: Vec<StateTensor> = Vec::new();
        for (number, program) in programs.iter().enumerate() {
            // A device's plan does not share memory, and has the same ports as the CPU's.
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
                match tensors.get_mut(index) {
                    Some(known) if number > 0 => {
                        if known.input != before.name.as_str() || known.row != row || known.dtype != after.dtype {
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
                        memory: Memory::new(0, None)?,
                    }),
                }
            }
        }
        for tensor in &mut tensors {
            tensor.memory = Memory::new(tensor.bytes(tensor.capacity)?, None)?;
        }
        Ok(State { tensors, rows: 0 })
    }

    /// The rows that are there.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The most rows that there can be; 0 for a model without states.
    pub fn capacity(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.capacity).min().unwrap_or(0)
    }

    /// Bytes of the rows that are there.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| (tensor.row_bytes * self.rows) as u64).sum()
    }

    /// Bytes of all rows that there can be.
    pub fn most_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| (tensor.row_bytes * tensor.capacity) as u64).sum()
    }

    /// Says how many rows count from now on: those that runs have written behind the others, or fewer, to forget the
    /// last ones.
    ///
    /// # Errors
    /// When there is no memory for so many.
    pub fn set_rows(&mut self, rows: usize) -> Result<(), Error> {
        let most = self.capacity();
        if rows > most {
            return Err(Error::StateRows { rows, most });
        }
        self.rows = rows;
        Ok(())
    }

    /// A copy that goes its own way from here.
    ///
    /// # Errors
    /// When memory is short.
    pub fn fork(&self) -> Result<State, Error> {
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let mut memory = Memory::new(tensor.bytes(tensor.capacity)?, None)?;
            let len = tensor.row_bytes * self.rows;
            memory.bytes_mut()[..len].copy_from_slice(&tensor.memory.bytes()[..len]);
            let StateTensor { input, output, dtype, row, row_bytes, capacity, .. } = tensor;
            let (input, output, row) = (input.clone(), output.clone(), row.clone());
            tensors.push(StateTensor {
                input,
                output,
                dtype: *dtype,
                row,
                row_bytes: *row_bytes,
                capacity: *capacity,
                memory,
            });
        }
        Ok(State { tensors, rows: self.rows })
    }

    /// Writes the rows, for [`State::load`] of the same model.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn save(&self, sink: &mut dyn Write) -> io::Result<()> {
        sink.write_all(&MAGIC)?;
        sink.write_all(&self.signature().to_le_bytes())?;
        sink.write_all(&(self.rows as u64).to_le_bytes())?;
        for tensor in &self.tensors {
            sink.write_all(&tensor.memory.bytes()[..tensor.row_bytes * self.rows])?;
        }
        Ok(())
    }

    /// Takes over rows that [`State::save`] has written. When it fails there are no rows.
    ///
    /// # Errors
    /// Those of the source; `InvalidData` when it holds no states, another model's, or too many rows.
    pub fn load(&mut self, source: &mut dyn Read) -> io::Result<()> {
        self.rows = 0;
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
            source.read_exact(&mut tensor.memory.bytes_mut()[..tensor.row_bytes * rows])?;
        }
        if source.read(&mut [0])? != 0 {
            return Err(invalid("the states are followed by other bytes"));
        }
        self.rows = rows;
        Ok(())
    }

    /// The inputs' names and contents: the rows that are there.
    pub(crate) fn inputs(&self) -> Vec<(&str, DType, Vec<usize>)> {
        let shape = |tensor: &StateTensor| std::iter::once(self.rows).chain(tensor.row.iter().copied()).collect();
        self.tensors.iter().map(|tensor| (tensor.input.as_str(), tensor.dtype, shape(tensor))).collect()
    }

    /// The tensor whose rows are there, of the shape that [`State::inputs`] gives for state `index`.
    pub(crate) fn view<'a>(&'a self, index: usize, shape: &'a [usize]) -> TensorView<'a> {
        let tensor = &self.tensors[index];
        let bytes = &tensor.memory.bytes()[..tensor.row_bytes * self.rows];
        TensorView::new(tensor.dtype, shape, bytes).expect("rows of this size")
    }

    /// The outputs' names, where they are, and the bytes there.
    pub(crate) fn outputs(&mut self) -> impl Iterator<Item = (&str, *mut u8, u64)> {
        self.tensors.iter_mut().map(|tensor| {
            let bytes = (tensor.row_bytes * tensor.capacity) as u64;
            (tensor.output.as_str(), tensor.memory.start(), bytes)
        })
    }

    /// A number that states of other names, types or rows hardly share.
    fn signature(&self) -> u64 {
        let text: String = self
            .tensors
            .iter()
            .map(|tensor| format!("{} {} {} {:?}\n", tensor.input, tensor.output, tensor.dtype, tensor.row))
            .collect();
        drupe_format::checksum(text.as_bytes())
    }
}

impl StateTensor {
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
