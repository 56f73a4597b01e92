"""Look at the tables of a study: `marimo edit docs/explore.py`, or `marimo run docs/explore.py`.

A notebook for marimo: cells are functions, and one that reads a value runs again when it changes.
"""

import marimo

app = marimo.App(width="medium", app_title="Mini-batch size and variance")


@app.cell
def _():
    from pathlib import Path

    import marimo as mo
    import matplotlib.pyplot as plt
    import pandas as pd

    return Path, mo, pd, plt


@app.cell
def _(mo):
    mo.md("""
    # How the variance of the gradient depends on the mini-batch size

    Choose an experiment, batch sizes, iterations and an estimator. Points are estimates over runs
    from the same initial weights, with their confidence intervals; lines are exact values, where
    there are some. [`results/README.md`](../results/README.md) says what every column holds.
    """)
    return


@app.cell
def _(Path):
    # Results of another scale: write its folder here.
    folder = Path("results/quick")
    return (folder,)


@app.cell
def _(folder, mo, pd):
    mo.stop(
        not (folder / "variance").is_dir(),
        mo.md(f"No tables in `{folder}`: run `make study`, or name another folder above."),
    )
    variance = pd.read_parquet(folder / "variance")
    exact = (
        pd.read_parquet(folder / "theory/variance")
        if (folder / "theory/variance").is_dir()
        else None
    )
    experiment = mo.ui.dropdown(
        sorted(variance["experiment"].astype(str).unique()),
        value=sorted(variance["experiment"].astype(str).unique())[0],
        label="experiment",
    )
    experiment
    return exact, experiment, variance


@app.cell
def _(experiment, mo, variance):
    of_experiment = variance[variance["experiment"] == experiment.value]
    sizes = sorted(of_experiment["b"].unique().tolist())
    last = int(of_experiment["step"].max())

    def choice(column, label):
        values = sorted(of_experiment[column].astype(str).unique())
        return mo.ui.dropdown(values, value=values[-1], label=label)

    batch_sizes = mo.ui.multiselect(
        [str(b) for b in sizes], value=[str(b) for b in sizes], label="batch sizes"
    )
    steps = mo.ui.range_slider(0, last, value=[0, last], label="iterations", show_value=True)
    quantity = choice("quantity", "gradient")
    tensor = choice("tensor", "weights")
    estimator = choice("estimator", "estimator")
    mo.vstack([mo.hstack([batch_sizes, steps]), mo.hstack([quantity, tensor, estimator])])
    return batch_sizes, estimator, of_experiment, quantity, steps, tensor


@app.cell
def _(batch_sizes, estimator, exact, experiment, of_experiment, quantity, steps, tensor):
    def chosen(table):
        """Rows of the first initial weights for what is chosen above."""
        low, high = steps.value
        return table[
            (table["experiment"] == experiment.value)
            & (table["init"] == 0)
            & table["b"].isin([int(b) for b in batch_sizes.value])
            & table["step"].between(low, high)
            & (table["quantity"] == quantity.value)
            & (table["tensor"] == tensor.value)
        ]

    rows = chosen(of_experiment)
    estimates = rows[rows["estimator"] == estimator.value]
    truth = None if exact is None else chosen(exact)
    return estimates, truth


@app.cell
def _(estimates, plt, truth):
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for number, (b, curve) in enumerate(estimates.groupby("b")):
        shade = plt.get_cmap("viridis")(number / max(estimates["b"].nunique(), 1))
        curve = curve[curve["variance"] > 0].iloc[:: max(len(curve) // 40, 1)]
        below = (curve["variance"] - curve["ci_low"]).clip(lower=0)
        above = (curve["ci_high"] - curve["variance"]).clip(lower=0)
        axes.errorbar(
            curve["step"] + 1,
            curve["variance"],
            yerr=[below, above],
            fmt="o",
            markersize=3,
            color=shade,
            label=f"b = {b}",
        )
        if truth is not None and len(truth):
            line = truth[(truth["b"] == b) & (truth["variance"] > 0)]
            axes.plot(line["step"] + 1, line["variance"], color=shade, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="iteration t + 1", ylabel="variance")
    axes.legend(frameon=False)
    figure
    return (figure,)


@app.cell
def _(estimates, mo):
    mo.ui.table(estimates.drop(columns=["experiment", "init", "quantity", "tensor"]))
    return


if __name__ == "__main__":
    app.run()
