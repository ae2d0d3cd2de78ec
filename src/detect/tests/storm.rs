//! Storms: many changes at once, and not one may be missed.
