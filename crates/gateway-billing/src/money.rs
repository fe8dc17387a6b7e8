//! Integer money: amounts in nano-units, prices in pico-dollars, multipliers in parts per million.
