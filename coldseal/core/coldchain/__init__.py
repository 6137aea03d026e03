"""Cold-chain rules: what a reading is and when it can be believed. Pure; decides nothing about storage."""
