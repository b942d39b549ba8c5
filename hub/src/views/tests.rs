//! Tests of the views as a whole.
