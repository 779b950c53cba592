//! Throw-away namespaces in which the real program works on a machine that is not the real one.
