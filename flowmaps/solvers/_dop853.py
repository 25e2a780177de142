"""The Dormand-Prince 8(5,3) method."""

from dataclasses import replace
from fractions import Fraction
from math import comb

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Field, State
from flowmaps.solvers._method import Step
from flowmaps.solvers._runge_kutta import ExplicitRungeKutta, combine, plus
from flowmaps.solvers._tableau import ButcherTableau, Numbers

__all__ = ["Dop853"]

# The digits of the book's program dop853.f. As exact fractions they satisfy the order conditions to
# 3e-29 (b, of order 8), 5e-28 (b - b_error, of order 5), 3e-29 (b - b_coarse_error, of order 3) and
# 4e-26 (dense output, of order 7, coefficient by coefficient); rows of a sum to c within 6e-29.
PUBLISHED = ButcherTableau.parse(
    c=(
        "0 0.0526001519587677318785587544488 0.0789002279381515978178381316732 "
        "0.11835034190722739672675719751 0.28164965809277260327324280249 "
        "0.333333333333333333333333333333 0.25 0.307692307692307692307692307692 "
        "0.651282051282051282051282051282 0.6 0.857142857142857142857142857142 1"
    ),
    a=[
        "",
        "0.0526001519587677318785587544488",
        "0.0197250569845378994544595329183 0.0591751709536136983633785987549",
        "0.0295875854768068491816892993775 0 0.0887627564304205475450678981324",
        "0.241365134159266685502369798665 0 -0.884549479328286085344864962717 "
        "0.924834003261792003115737966543",
        "0.037037037037037037037037037037 0 0 0.170828608729473871279604482173 "
        "0.125467687566822425016691814123",
        "0.037109375 0 0 0.170252211019544039314978060272 0.0602165389804559606850219397283 "
        "-0.017578125",
        "0.0370920001185047927108779319836 0 0 0.170383925712239993810214054705 "
        "0.107262030446373284651809199168 -0.0153194377486244017527936158236 "
        "0.00827378916381402288758473766002",
        "0.624110958716075717114429577812 0 0 -3.36089262944694129406857109825 "
        "-0.868219346841726006818189891453 27.5920996994467083049415600797 "
        "20.1540675504778934086186788979 -43.4898841810699588477366255144",
        "0.477662536438264365890433908527 0 0 -2.48811461997166764192642586468 "
        "-0.590290826836842996371446475743 21.2300514481811942347288949897 "
        "15.2792336328824235832596922938 -33.2882109689848629194453265587 "
        "-0.0203312017085086261358222928593",
        "-0.93714243008598732571704021658 0 0 5.18637242884406370830023853209 "
        "1.09143734899672957818500254654 -8.14978701074692612513997267357 "
        "-18.5200656599969598641566180701 22.7394870993505042818970056734 "
        "2.49360555267965238987089396762 -3.0467644718982195003823669022",
        "2.27331014751653820792359768449 0 0 -10.5344954667372501984066689879 "
        "-2.00087205822486249909675718444 -17.9589318631187989172765950534 "
        "27.9488845294199600508499808837 -2.85899827713502369474065508674 "
        "-8.87285693353062954433549289258 12.3605671757943030647266201528 "
        "0.643392746015763530355970484046",
    ],
    b=(
        "0.0542937341165687622380535766363 0 0 0 0 4.45031289275240888144113950566 "
        "1.89151789931450038304281599044 -5.8012039600105847814672114227 "
        "0.31116436695781989440891606237 -0.152160949662516078556178806805 "
        "0.201365400804030348374776537501 0.0447106157277725905176885569043"
    ),
    b_error=(
        "0.01312004499419488073250102996 0 0 0 0 -1.225156446376204440720569753 "
        "-0.4957589496572501915214079952 1.664377182454986536961530415 "
        "-0.350328848749973681688648729 0.3341791187130174790297318841 "
        "0.08192320648511571246570742613 -0.02235530786388629525884427845"
    ),
    b_coarse_error=(
        "-0.1898007540724076157147023288757 0 0 0 0 4.45031289275240888144113950566 "
        "1.89151789931450038304281599044 -5.8012039600105847814672114227 "
        "-0.422682321323791962932445679177 -0.152160949662516078556178806805 "
        "0.201365400804030348374776537501 0.0226517921983608258118062039631"
    ),
    c_dense="0.1 0.2 0.777777777777777777777777777778",
    a_dense=[
        "0.0561675022830479523392909219681 0 0 0 0 0 0.253500210216624811088794765333 "
        "-0.246239037470802489917441475441 -0.124191423263816360469010140626 "
        "0.15329179827876569731206322685 0.00820105229563468988491666602057 "
        "0.00756789766054569976138603589584 -0.008298",
        "0.0318346481635021405060768473261 0 0 0 0 0.0283009096723667755288322961402 "
        "0.0535419883074385676223797384372 -0.0549237485713909884646569340306 0 0 "
        "-0.000108347328697249322858509316994 0.000382571090835658412954920192323 "
        "-0.000340465008687404560802977114492 0.141312443674632500278074618366",
        "-0.428896301583791923408573538692 0 0 0 0 -4.69762141536116384314449447206 "
        "7.68342119606259904184240953878 4.06898981839711007970213554331 "
        "0.356727187455281109270669543021 0 0 0 -0.00139902416515901462129418009734 "
        "2.9475147891527723389556272149 -9.15095847217987001081870187138",
    ],
)
# Weights of the stages in the parts F_3, ..., F_6 of the nested polynomial; d_4, ..., d_7 there.
NESTED = tuple(
    tuple(Fraction(word) for word in row.split())
    for row in (
        "-8.4289382761090128651353491142 0 0 0 0 0.5667149535193777696253178359 "
        "-3.0689499459498916912797304727 2.384667656512069828772814968 "
        "2.1170345824450282767155149946 -0.8713915837779729920678990749 "
        "2.240437430260788275854177165 0.6315787787694688181557024929 "
        "-0.0889903364513333108206981174 18.148505520854727256656404962 "
        "-9.1946323924783554000451984436 -4.4360363875948939664310572",
        "10.427508642579134603413151009 0 0 0 0 242.28349177525818288430175319 "
        "165.20045171727028198505394887 -374.54675472269020279518312152 "
        "-22.113666853125306036270938578 7.7334326684722638389603898808 "
        "-30.674084731089398182061213626 -9.3321305264302278729567221706 "
        "15.697238121770843886131091075 -31.139403219565177677282850411 "
        "-9.3529243588444783865713862664 35.81684148639408375246589854",
        "19.985053242002433820987653617 0 0 0 0 -387.03730874935176555105901742 "
        "-189.17813819516756882830838328 527.80815920542364900561016686 "
        "-11.573902539959630126141871134 6.8812326946963000169666922661 "
        "-1.000605096691083840318386098 0.7777137798053443209286926574 "
        "-2.7782057523535084065932004339 -60.196695231264120758267380846 "
        "84.320405506677161018159903784 11.99229113618278932803513003",
        "-25.693933462703749003312586129 0 0 0 0 -154.18974869023643374053993627 "
        "-231.52937917604549567536039109 357.6391179106141237828534991 "
        "93.405324183624310003907691704 -37.458323136451633156875139351 "
        "104.09964950896230045147246184 29.840293426660503123344363579 "
        "-43.533456590011143754432175058 96.3245539591882829483949506 "
        "-39.177261675615439165231486172 -149.72683625798562581422125276",
    )
)
PARTS = 3 + len(NESTED)


def basis(part: int) -> tuple[int, ...]:
    """Return the coefficients of 1, theta, ... in what multiplies a part: theta^l (1 - theta)^m.

    The book nests them, F_0 + (1 - theta) (F_1 + theta (F_2 + (1 - theta) (F_3 + ...))).
    """
    low, m = part // 2, (part + 1) // 2
    return tuple((-1) ** (k - low) * comb(m, k - low) if k >= low else 0 for k in range(PARTS))


BASIS = tuple(zip(*map(basis, range(PARTS)), strict=True))
"""Entry [k][j]: coefficient of theta^k in what multiplies the part F_j."""


def dense_weights(table: ButcherTableau) -> tuple[Numbers, ...]:
    """Return b_i(theta) of every stage, the nested polynomial multiplied out exactly."""
    stages = len(table.rows_of_dense)
    first = tuple(Fraction(i == 0) for i in range(stages))
    last = tuple(Fraction(i == table.stages) for i in range(stages))
    b = table.b + (Fraction(0),) * (stages - table.stages)
    weights = zip(b, first, last, *NESTED, strict=True)
    parts = [(w, f - w, 2 * w - f - end, *further) for w, f, end, *further in weights]
    return tuple(
        tuple(sum((c * p for c, p in zip(row, part, strict=True)), Fraction(0)) for row in BASIS)
        for part in parts
    )


class Dop853(ExplicitRungeKutta):
    """The Dormand-Prince method 8(5,3) with a dense output of order 7, twelve evaluations a step.

    For tolerances from 1e-8 down. Two error estimates, of orders 5 and 3, act together as one of
    order 7. Dense output takes three evaluations more a step.

    Source:
        Hairer, Norsett, Wanner (1993), Solving ODEs I, 2nd ed., section II.5 (method), section
            II.6 (dense output), section II.10 (error estimate, equation 10.17) and its program
            DOP853: all coefficients are the decimals printed there, about 30 digits. The method
            without them: Prince, Dormand (1981), High order embedded Runge-Kutta formulae, J. Comp.
            Appl. Math. 7, 67-75.

    Example:
        >>> import torch, flowmaps as fm
        >>> x, method = torch.ones(1, 1, dtype=torch.float64), fm.solvers.Dop853()
        >>> tight = {"rtol": 1e-12, "atol": 1e-12}
        >>> solution = fm.solvers.solve(lambda t, x: x, 0.0, 1.0, x, method=method, **tight)
        >>> round(solution.x.item(), 10), solution.statistics.accepted.item() < 20
        (2.7182818285, True)
    """

    order = 8
    error_order = 7
    dense_order = 7
    dense_evaluations = 3
    tableau = replace(PUBLISHED, b_dense=dense_weights(PUBLISHED))
    nested = tuple(tuple(float(weight) for weight in row) for row in NESTED)

    def step(self, field: Field, t: Clock, h: Clock, x: State, first: State | None = None) -> Step:
        """Advance x from t to t + h; see Stepper.step."""
        step, weights = super().step(field, t, h, x, first), self.coefficients.b_coarse_error
        assert weights is not None
        coarse = per_sample(h, x) * combine(weights, step.stages)
        return Step(step.x, step.error, step.stages, step.last, coarse)

    def slopes(self, field: Field, t: Clock, h: Clock, x: State, step: Step, last: State) -> Tensor:
        """Return the interpolant of a step, after three more stages; see Stepper.slopes.

        The parts F_j are formed first, as in the book: the weights ``b_dense`` are up to 500 and
        would each leave a rounding error of their own, which the parts have in common.
        """
        table, stages = self.coefficients, [*step.stages, last]
        for c, row in zip(table.c_dense, table.a_dense, strict=True):
            y = x + per_sample(h, x) * combine(row, stages)
            stages.append(field(plus(t, c, h), y))
        first, mean = stages[0], combine(table.b, step.stages)
        ends = [mean, first - mean, 2 * mean - first - last]
        parts = [*ends, *(combine(row, stages) for row in self.nested)]
        return torch.stack([combine(row, parts) for row in BASIS])
