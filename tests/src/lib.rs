//! Tests of the programs from outside.
