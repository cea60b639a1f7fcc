"""Ask another context: generated stubs on channels, generated servicers behind them."""
