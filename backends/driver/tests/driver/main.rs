//! Tests of the command line. What is compiled is tested in testsuite/compiler.

mod command_line;
mod support;
