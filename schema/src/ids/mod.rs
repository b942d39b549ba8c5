//! Identifiers: parsed once at the border, never raw strings inward.
