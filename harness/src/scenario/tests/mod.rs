// SPDX-License-Identifier: MIT OR Apache-2.0

mod documented;
mod reach;
mod roundtrip;
mod strict;
