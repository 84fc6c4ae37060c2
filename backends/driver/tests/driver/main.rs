//! Tests of the command line. What is compiled is tested in testsuite/compiler.

mod command_line;
#[cfg(all(feature = "gpu", unix, not(target_vendor = "apple")))]
mod fallback;
mod self_tests;
mod support;
mod web;
