//! The program `taskspace`.

fn main() {}
