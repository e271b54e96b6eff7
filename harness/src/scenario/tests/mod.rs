// SPDX-License-Identifier: MIT OR Apache-2.0

mod reach;
mod roundtrip;
mod strict;
