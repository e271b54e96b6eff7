// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of the text that stand for one value each.

use super::{Ap, Barrier, Base, Elr, Of, Verdict};

/// Words of the text, one for each value.
macro_rules! words {
    ($($kind:ident { $($value:ident $word:literal),* $(,)? })*) => {$(
        impl $kind {
            /// Every value, in the order of the words.
            pub const ALL: &[$kind] = &[$($kind::$value),*];
            /// Their words in the text.
            pub const WORDS: &[&str] = &[$($word),*];

            /// Its word in the text.
            pub fn word(self) -> &'static str {
                match self { $($kind::$value => $word),* }
            }
        }
    )*};
}

words! {
    Verdict { Allowed "allowed", Forbidden "forbidden" }
    Of { Virtual "virtual", Intermediate "intermediate", Physical "physical" }
    Ap { El1Rw "el1rw", Rw "rw", El1Ro "el1ro", Ro "ro" }
    Base { Ttbr0El1 "ttbr0_el1", VttbrEl2 "vttbr_el2", Ttbr0El2 "ttbr0_el2" }
    Elr { Next "next", Saved "saved" }
    Barrier {
        Sy "sy", Ld "ld", St "st", Ish "ish", Ishld "ishld", Ishst "ishst",
        Nsh "nsh", Nshld "nshld", Nshst "nshst",
    }
}
