"""The paper's errors that this package corrects, as data.

"The paper" is Balles & Hennig, "Dissecting Adam: The Sign, Magnitude and Variance of Stochastic
Gradients" (2018), in the text submitted for review, read from a transcription. Where the printed and
the right form differ by a single sign (a hat, a tilde, an index, a bracket), the transcription may have
lost it: ``maybe_transcription``. ``qpsim theory errata`` and the docstring of :mod:`qpsim.theory` print
this list; ``tests/theory/test_errata.py`` shows each printed form failing, under the erratum's key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Erratum:
    """One error: where it stands, what is printed, what is right, and why.

    ``maybe_transcription`` says that it may be the transcription's and not the paper's.
    """

    key: str
    where: str
    printed: str
    correct: str
    why: str
    maybe_transcription: bool = False


ERRATA: tuple[Erratum, ...] = (
    Erratum(
        "hessian_shape",
        "Model Problem, Section 2",
        "Q in R^d",
        "Q in R^(d x d)",
        "theta^T Q theta needs a matrix.",
        maybe_transcription=True,
    ),
    Erratum(
        "gradient_law",
        "text after Eq. 9",
        "g = Q (theta - x) ~ N(x*, nu^2 I)",
        "g ~ N(Q (theta - x*), nu^2 Q Q)",
        "The printed law is that of the data x; a linear map of x has its mean and covariance "
        "mapped. Eq. 12 and B.1 use the right one.",
    ),
    Erratum(
        "diagonal_fraction",
        "text before Eq. 13",
        "a percentage c in [0, 1] of the mass, sum |q_ii| >= c sum |q_ij|",
        "a fraction c",
        "The values quoted (0.1 to 0.6) are fractions. As a lower bound c may be 0, which guarantees "
        "nothing; the largest c is the diagonal's share itself, and never below 1/d, since positive "
        "definiteness gives |q_ij| <= (q_ii + q_jj) / 2.",
    ),
    Erratum(
        "improvement_half_sgd",
        "Eq. 20",
        "I(g) = (grad^T grad)^2 / (grad^T Q grad + nu^2 sum lambda^3)",
        "half of that",
        "Eq. 11, from which it is said to follow, and Eq. 12 have the 1/2.",
    ),
    Erratum(
        "improvement_half_ssd",
        "Eq. 22",
        "I(s) >= (sum (2 rho - 1) |grad|)^2 / sum |q_ij|",
        "half of that",
        "As Eq. 20. As printed it is no lower bound: for a diagonal Q it is twice I(s).",
    ),
    Erratum(
        "sign_quadratic_index",
        "Eq. 21 and 22",
        "s^T H s and sum_{i=1}^d q_ij s_i s_j",
        "s^T Q s and sum_{i,j=1}^d q_ij s_i s_j",
        "H is not defined; the quadratic form runs over both indices.",
        maybe_transcription=True,
    ),
    Erratum(
        "noise_beyond_success",
        "Section 2.1, second observation",
        "in I(s) the noise only manifests in the success probabilities, its effect in the denominator "
        "is bounded",
        "the same of the bound of Eq. 12; I(s) itself depends on more than the success probabilities",
        "The second half is right: 0 <= E[s^T Q s] <= sum |q_ij|. But within these limits E[s^T Q s] "
        "moves with E[s_i s_j], which the success probabilities do not determine unless Q is diagonal.",
    ),
    Erratum(
        "lemma1_variance",
        "Lemma 1",
        "var[p_i] = sigma_i^2",
        "var[p^_i] = sigma_i^2",
        "p is the fixed direction wanted; its estimate p^ has the variance.",
        maybe_transcription=True,
    ),
    Erratum(
        "lemma1_proportional",
        "text after Lemma 1",
        "gamma_i is proportional to the success probability",
        "gamma_i = 2 rho_i - 1 is affine in it",
        "A quantity proportional to rho would be positive at rho = 1/2, where the same sentence "
        "has gamma = 0.",
    ),
    Erratum(
        "lemma1_sum",
        "Eq. 29, second line",
        "gamma_i^2 - 2 gamma_i (2 rho_i - 1) + 1",
        "sum_i of that",
        "A squared norm sums over coordinates, as the line before it does.",
        maybe_transcription=True,
    ),
    Erratum(
        "negative_variance",
        "Section 1.1, Eq. 7",
        "v_t - m_t^2 estimates a variance; the update is shortened by (1 + eta^2)^(-1/2)",
        "only if both averages share one constant",
        "With beta1 != beta2, v - m^2 can be negative: eta^2 is then negative and the step longer "
        "than the step size. With beta1 = beta2 Jensen's inequality keeps it >= 0.",
    ),
    Erratum(
        "momentum_sum",
        "Section 3.4, Eq. 18",
        "r_t = sum_{s=0}^t mu^s g_{t-s}, and the same range in mean and variance",
        "s = 0, ..., t - 1",
        "The first gradient is g_1 and r_0 = 0 (Alg. 1); the term s = t is a g_0 that does not "
        "exist.",
    ),
    Erratum(
        "geometric_sum",
        "Eq. 45, 46 and 47",
        "sum_{s=0}^t mu^s = (1 - mu^t) / (1 - mu), and likewise with mu^2",
        "sum_{s=0}^{t-1}",
        "The closed forms, and so kappa of Eq. 19, are those of t terms; t + 1 terms give another "
        "number, for which kappa(mu, 1) = 1 fails.",
    ),
    Erratum(
        "bias_correction_recursion",
        "Eq. 41",
        "m_t = (beta1 m_{t-1} + (1 - beta1) g_t) / (1 - beta1^t)",
        "m~_{t-1} in place of m_{t-1}",
        "The recursion of Eq. 3 runs on the uncorrected average.",
        maybe_transcription=True,
    ),
    Erratum(
        "weights_of_the_past",
        "C.1, after Eq. 41",
        "c(mu, t, s) is very small for large t - s",
        "for large s",
        "s counts back from t: g_{t-s} is far in the past for large s. At s = 0, where t - s is "
        "largest, the weight is largest.",
    ),
    Erratum(
        "moving_average_bias",
        "C.1, last sentence",
        "the bias of v - m^2 should generally be dominated by other errors",
        "E[v_t - m_t^2] = (1 - kappa(mu, t)) sigma^2",
        "The factor is 0 at t = 1 and 0.4986 at t = 2 for mu = 0.9: early on the bias is the "
        "error. It tends to 2 mu / (1 + mu), not to 1.",
    ),
    Erratum(
        "minibatch_variance",
        "Eq. 44",
        "s^ = (1/B) (1/(B-1) sum_k grad_k^2 - g^2)",
        "s^ = (1/(B-1)) ((1/B) sum_k grad_k^2 - g^2)",
        "As printed its expectation exceeds var[g] by E[g^2] / (B (B - 1)), so it is not the "
        "unbiased estimate that the text calls it.",
    ),
    Erratum(
        "theorem1_moment",
        "Theorem 1 and Eq. 34",
        "assumed: E||g_t||^2 <= G^2; used: sum (grad^2 + sigma^2) = E_t||g_t||^2 <= G^2",
        "keep E_t||g_t||^2, take the total expectation, then E[X^2/Y] >= E[X]^2 / E[Y]",
        "The conditional moment can exceed the bound on its mean. The theorem holds as stated, by "
        "Cauchy-Schwarz instead.",
    ),
    Erratum(
        "momentum_range",
        "Algorithms 2 and 4",
        "momentum parameter mu in [0, 1]",
        "mu in [0, 1)",
        "At mu = 1 the bias correction and kappa divide 0 by 0. (Alg. 1, 3 and 5 divide by neither: "
        "mu = 1 is defined there, a sum that forgets nothing. qpsim refuses it in all five.)",
        maybe_transcription=True,
    ),
    Erratum(
        "mssd_second_moment",
        "Algorithm 1",
        "Initialize m = 0, v = 0; Update moving average m <- mu m + g",
        "m = 0 only; m is a momentum sum",
        "v is never used; the weights of m sum to (1 - mu^t) / (1 - mu), not to 1.",
    ),
    Erratum(
        "adam_star_tilde",
        "Algorithm 4, lines 1 and 4",
        "m, v <- moving averages of m, v",
        "m~, v~ as in Algorithm 2",
        "Line 5 reads m~, v~. Read literally, the corrected average would be averaged again and "
        "corrected again.",
        maybe_transcription=True,
    ),
    Erratum(
        "minibatch_scale",
        "Algorithm 3",
        "a variation of M-SVAG that estimates variances in the minibatch",
        "also a step on the momentum sum, (1 - mu^t) / (1 - mu) times M-SVAG's average",
        "At equal step size it moves up to 1 / (1 - mu) times as far.",
    ),
    Erratum(
        "algorithm_name",
        "Appendix D",
        "M-SVAG-mb: pseudo-code in Alg. 5",
        "Alg. 3",
        "Alg. 5 is ADAM*-mb: it moves along the sign of m.",
    ),
)


def errata_text(width: int = 96) -> str:
    """The list as plain text, one entry a paragraph; what the docstring of the package shows.

    Examples
    --------
    >>> from qpsim import theory
    >>> print(theory.errata_text()[:50])
    1. Model Problem, Section 2. Printed: Q in R^d. Ri
    """
    from textwrap import fill

    return "\n".join(
        fill(
            f"{n}. {e.where}. Printed: {e.printed}. Right: {e.correct}. {_reason(e)}",
            width,
            subsequent_indent="   ",
        )
        for n, e in enumerate(ERRATA, start=1)
    )


def errata_markdown() -> str:
    """The list as a Markdown table.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.errata_markdown().splitlines()[0]
    '| Where | Printed | Right | Why |'
    """
    rows = ["| Where | Printed | Right | Why |", "| --- | --- | --- | --- |"]
    rows += [
        "| " + " | ".join(re.sub(r"([|*_~])", r"\\\1", cell) for cell in cells) + " |"
        for cells in ((e.where, e.printed, e.correct, _reason(e)) for e in ERRATA)
    ]
    return "\n".join(rows)


def _reason(erratum: Erratum) -> str:
    """Why, and whether the transcription may be to blame."""
    doubt = " (Perhaps an error of the transcription.)" if erratum.maybe_transcription else ""
    return erratum.why + doubt
