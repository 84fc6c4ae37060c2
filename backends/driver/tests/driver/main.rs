//! Tests of the whole way: models compiled, run and compared; the command line.

mod command_line;
mod compile;
mod random_modules;
mod support;
