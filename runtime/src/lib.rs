//! HSL values, virtual machine, fibers and limits.
