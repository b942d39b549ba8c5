//! Whole-system tests, the reference city, and what both are run with.

pub mod bench;
pub mod city;
pub mod damage;
pub mod harness;
pub mod hostile;
pub mod instructions;
pub mod powercut;
pub mod proof;
